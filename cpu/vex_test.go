//go:build amd64 && !purego

package cpu

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// Our functions as assembly text, and as what objdump reads in the binary. One instruction of legacy SSE between those of AVX
// costs a transition each time, 22 times a loop's own time; and the register allocator knows AVX-512's 32 registers, which would
// fault on a machine with AVX2 alone.
var (
	goRegister   = regexp.MustCompile(`\b[XYZ]([0-9]|[12][0-9]|3[01])\b`)
	goBeyondAVX2 = regexp.MustCompile(`\b[XY](1[6-9]|2[0-9]|3[01])\b|\bZ[0-9]+\b|\bK[0-7]\b`)
	register     = regexp.MustCompile(`\b[xyz]mm[0-9]+`)
	beyondAVX2   = regexp.MustCompile(`\b[xy]mm(1[6-9]|2[0-9]|3[01])\b|\bzmm|\bk[0-7]\b`)
)

// wrong says whether an instruction has a vector register and is not VEX- or EVEX-encoded, or is not AVX2's in an AVX2 function.
// Names of both encodings start with v, and no others with a vector register do.
func wrong(function, code string, register, beyond *regexp.Regexp) (bad, vector bool) {
	if !register.MatchString(code) {
		return false, false
	}
	return !strings.HasPrefix(strings.ToLower(code), "v") || strings.HasSuffix(function, "AVX2") && beyond.MatchString(code), true
}

func TestWrong(t *testing.T) {
	for _, line := range []string{"ADDPS X1, X0", "VADDPS Y16, Y1, Y0", "VADDPS Z1, Z2, Z0", "VCMPPS $0x11, Y1, Y0, K1"} {
		bad, _ := wrong("sgdF32AVX2", line, goRegister, goBeyondAVX2)
		require.True(t, bad, line)
	}
	bad, vector := wrong("sgdF32AVX512", "VADDPS Z1, Z2, Z0", goRegister, goBeyondAVX2)
	require.True(t, vector && !bad)
	for _, line := range []string{"addps %xmm1,%xmm0", "movups (%rax),%xmm0", "vaddps %zmm1,%zmm2,%zmm0"} {
		bad, _ := wrong("sgdF32AVX2", line, register, beyondAVX2)
		require.True(t, bad, line)
	}
}

// TestAssembly reads the committed assembly.
func TestAssembly(t *testing.T) {
	for _, name := range []string{"loops_avx2_amd64.s"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		function, checked := "", 0
		for line := range strings.Lines(string(text)) {
			code, _, _ := strings.Cut(strings.TrimSpace(line), "//")
			if f, ok := strings.CutPrefix(code, "TEXT ·"); ok {
				function, _, _ = strings.Cut(f, "(")
				continue
			}
			bad, vector := wrong(function, code, goRegister, goBeyondAVX2)
			if bad {
				t.Errorf("%s: %s has %s", name, function, code)
			}
			if vector {
				checked++
			}
		}
		require.Greater(t, checked, 200, name)
		require.Equal(t, strings.Count(string(text), "\nTEXT"), strings.Count(string(text), "\tVZEROUPPER\n"), "%s: a function returns with dirty upper halves", name)
	}
}

// TestListings reads the machine code that is made of all programs. It need not run here. EVEX's bytes begin with 62.
func TestListings(t *testing.T) {
	for name, set := range map[string]*emit.Set{"AVX2": emit.AVX2, "AVX512": emit.AVX512, "AVX512 with estimates": emit.AVX512Roots} {
		checked := 0
		programs(t, func(p *kernels.Program) {
			code, err := emitLoop(set, &p.Passes[0], fromMemory)
			require.NoError(t, err)
			checked += checkListing(t, name, p.String(), code)
		})
		require.Greater(t, checked, 2000, name)
		for _, dtype := range []device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16} {
			code, err := emitSquares(set, kernels.Norm().Stages[0].Terms[dtype], fromMemory)
			require.NoError(t, err)
			checkListing(t, name, "norm of "+dtype.String(), code)
		}
		code, err := trafficMoves(set, []int{8, 4, 2, 1}, 1, 2, fromMemory).Compile()
		require.NoError(t, err)
		checkListing(t, name, "traffic", code)
	}
}

// checkListing returns how many instructions it has looked at.
func checkListing(t *testing.T, set, what string, code *emit.Code) (checked int) {
	text, err := code.Listing()
	require.NoError(t, err)
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), "  ", 3)
		if len(f) < 3 {
			continue // a label
		}
		bad, vector := wrong(set, strings.TrimSpace(f[2]), register, beyondAVX2)
		if set == "AVX2" && strings.HasPrefix(f[1], "62") {
			bad = true
		}
		if bad {
			t.Errorf("%s: %s has %s", set, what, line)
		}
		if vector {
			checked++
		}
	}
	require.True(t, strings.HasSuffix(strings.TrimSpace(text), "ret") && strings.Count(text, "vzeroupper\n") == 1)
	return checked
}

// TestDisassembly reads a binary of this package, with binutils' objdump: Go's disassembler does not know VEX. Where there is a C
// compiler there is an objdump. It builds the binary itself, as that which go test runs has no symbols.
func TestDisassembly(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a binary and disassembles it")
	}
	objdump, err := exec.LookPath("objdump")
	if err != nil {
		t.Skip("NOTE: the binary is not disassembled: there is no objdump here; TestAssembly has read its source")
	}
	binary := filepath.Join(t.TempDir(), "cpu.test")
	text, err := exec.Command("go", "test", "-c", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", text)
	cmd := exec.Command(objdump, "-d", "--no-show-raw-insn", binary)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	head := regexp.MustCompile(`^[0-9a-f]+ <(.*)>:$`)
	function, functions, checked := "", 0, 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := head.FindStringSubmatch(line); m != nil {
			function = ""
			name, ours := strings.CutPrefix(m[1], "github.com/fusestep/fusestep/cpu.")
			name, assembly := strings.CutSuffix(name, ".abi0") // without it, the compiler's bridge to the assembly
			if ours && assembly && strings.HasSuffix(name, "AVX2") {
				function = name
				functions++
			}
			continue
		}
		_, code, ok := strings.Cut(line, ":")
		if function == "" || !ok {
			continue
		}
		bad, vector := wrong(function, strings.TrimSpace(code), register, beyondAVX2)
		if bad {
			t.Errorf("%s has %s", function, code)
		}
		if vector {
			checked++
		}
	}
	require.NoError(t, lines.Err())
	require.NoError(t, cmd.Wait())
	require.Greater(t, functions, 50, "loops in the binary")
	require.Greater(t, checked, 200, "instructions")
}
