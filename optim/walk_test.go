package optim_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ptx"
	"github.com/fusestep/fusestep/kernels/rules"
)

// ARCHITECTURE follows Lion's exp_avg through all that its rule becomes. The machine code is looked at where a processor has AVX-512.
func TestWalk(t *testing.T) {
	p, err := kernels.New(kernels.Spec{Rule: rules.LionRule().Rule, Compute: device.Float32})
	require.NoError(t, err)
	excerpt := func(what, language string, lines []string) {
		generated(t, "../ARCHITECTURE.md", "Lion: "+what, "```"+language+"\n"+strings.Join(lines, "\n")+"\n```\n")
	}

	_, rest, ok := strings.Cut(p.Rule.Source(), "func Lion[")
	body, _, end := strings.Cut(rest, "\n}\n")
	require.True(t, ok && end)
	excerpt("Go", "go", strings.Split("func Lion["+body+"\n}", "\n"))
	excerpt("graph", "", slice(t, p.Passes[0].Graph.Text(p.Passes[0].Varying), "e.M = ", `\bv\d+`))
	text := slice(t, ptx.New(p).Text, "st.global.f32 [%address$e$M]", `%(v\d+_|in[_$])[\w$]*`)
	excerpt("PTX", "", slices.DeleteFunc(text, func(line string) bool { return strings.Contains(line, "%entry") })) // the scalars' loads

	const avx512 = "avx512"
	if !slices.Contains(cpu.Implementations(), avx512) {
		t.Skip("the machine code was not looked at: this machine has no AVX-512, or may not run code")
	}
	t.Setenv(cpu.Environment, avx512)
	d := cpu.NewThreads(1)
	defer d.Close()
	listing, err := d.Listing(p)
	require.NoError(t, err)
	listing = regexp.MustCompile(`(?m)^ *\d+  [0-9a-f]+ +`).ReplaceAllString(listing, "")
	zmm := regexp.MustCompile(`zmm\d+`)
	uniforms := map[string]string{} // by the register that the loop finds them in
	var code []string
	for _, line := range slice(t, listing, "; e.M =", `zmm\d+|\bk\d`) {
		instruction, comment, _ := strings.Cut(line, "\t")
		if before, ok := strings.CutPrefix(instruction, "vbroadcastss "); ok {
			register, _, _ := strings.Cut(before, ",")
			uniforms[register] = register + " is " + strings.TrimPrefix(comment, "; ")
			continue
		}
		for _, r := range zmm.FindAllString(instruction, -1) {
			if uniforms[r] != "" {
				comment = strings.TrimPrefix(comment+"; "+uniforms[r], "; ")
			}
		}
		if comment != "" {
			instruction = fmt.Sprintf("%-46s ; %s", instruction, strings.TrimPrefix(comment, "; "))
		}
		code = append(code, instruction)
	}
	excerpt("machine code", "", code)
}

// slice is the lines that a line which contains last depends on, and that line. A line writes the first register that it names, and
// reads the others; the last one writes none.
func slice(t *testing.T, text, last, register string) (out []string) {
	before, rest, ok := strings.Cut(text, last)
	require.True(t, ok, "no %q in\n%s", last, text)
	after, _, _ := strings.Cut(rest, "\n")
	registers := regexp.MustCompile(register)
	lines := strings.Split(before+last+after, "\n")
	need := map[string]bool{}
	for i, line := range slices.Backward(lines) {
		named := registers.FindAllString(line, -1)
		if i < len(lines)-1 {
			if len(named) == 0 || !need[named[0]] {
				continue
			}
			delete(need, named[0])
			named = named[1:]
		}
		for _, r := range named {
			need[r] = true
		}
		out = append(out, strings.TrimSpace(line))
	}
	require.Empty(t, need, "nothing writes them:\n%s", strings.Join(out, "\n"))
	slices.Reverse(out)
	return out
}
