package optim_test

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

var write = flag.Bool("write", false, "write the documents' tables instead of comparing with them")

func TestCases(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range optim.Cases() {
		require.False(t, seen[c.Name], c.Name)
		seen[c.Name] = true
		require.NotEmpty(t, c.Doc, c.Name)
		require.NotEmpty(t, c.Source, c.Name)
		s, err := c.Algorithm.Setting()
		require.NoError(t, err, c.Name)
		require.True(t, c.Name == s.Name || strings.HasPrefix(c.Name, s.Name+"-"), "case %s is of algorithm %s", c.Name, s.Name)
		p, err := c.Program(device.Float32)
		require.NoError(t, err, c.Name)
		state := p.State()
		written := len(state)
		if slices.Contains(state, "hessian") {
			written-- // by who estimates it, not by a step
		}
		if len(p.Passes) == 1 {
			require.Equal(t, 4*(3+len(state)+written), p.Bytes, "%s: parameter and state are read and written, the gradient is read", c.Name)
			continue
		}
		bytes, stored := 0, map[int]bool{}
		for _, pass := range p.Passes {
			bytes += 4 * (len(pass.Loads) + len(pass.Stores))
			for _, k := range pass.Stores {
				require.False(t, stored[k], "%s: %s is written twice", c.Name, p.PlaneName(k))
				stored[k] = true
			}
		}
		require.Len(t, stored, 1+written, c.Name)
		require.Equal(t, bytes, p.Bytes, c.Name)
	}
}

func caseTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| Case | What it is | From | State | Bytes a step, float32 | Modes |\n|---|---|---|---|---|---|\n")
	for _, c := range optim.Cases() {
		p, err := c.Program(device.Float32)
		require.NoError(t, err)
		if matrix := p.Rule.MatrixOption(); matrix != 0 {
			s := p.Spec
			s.Options |= matrix
			vector := p
			p, err = kernels.New(s)
			require.NoError(t, err)
			c.Doc += fmt.Sprintf("; a vector has %s, and takes %d bytes", strings.Join(vector.State(), ", "), vector.Bytes)
		}
		state := p.State()
		n := p.Bytes
		var names []string
		for _, name := range state {
			names = append(names, "`"+name+"`")
		}
		for _, x := range p.TensorStates() {
			of := "a tensor"
			if p.Rule.Everything {
				of = "of all tensors"
			}
			names = append(names, "one `"+x.Name+"` "+of)
		}
		if names == nil {
			names = []string{"none"}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %d | %s |\n", c.Name, c.Doc, c.Source, strings.Join(names, ", "), n, modes(t, c))
	}
	return b.String()
}

// modes are the fields that turn something on or off, of the case that has an algorithm's defaults: bools, and what is 0.
func modes(t *testing.T, c optim.Case) string {
	s, err := c.Algorithm.Setting()
	require.NoError(t, err)
	if c.Name != s.Name {
		return ""
	}
	var names []string
	v := reflect.ValueOf(c.Algorithm)
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		if v.Type().Field(i).IsExported() && name != "Maximize" && (f.Kind() == reflect.Bool || f.IsZero()) {
			names = append(names, "`"+name+"`")
		}
	}
	return strings.Join(names, ", ")
}

// The table of docs/optimizers.md is the table of cases.
func TestOptimizersTable(t *testing.T) {
	generated(t, "../docs/optimizers.md", "the table of optim.Cases", caseTable(t))
}

// generated holds what a document has between two comments to what it should have, or writes it with -write.
func generated(t *testing.T, file, what, want string) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), "<!-- "+what+", by make generate -->\n")
	require.True(t, ok, "%s has no place for %s", file, what)
	begin := strings.TrimSuffix(string(text), rest)
	got, after, ok := strings.Cut(rest, "<!-- end ")
	require.True(t, ok, "%s has no end of %s", file, what)
	require.NotEmpty(t, before)
	if *write {
		require.NoError(t, os.WriteFile(file, []byte(begin+want+"<!-- end "+after), 0o644))
		return
	}
	sameLines(t, want, got, file+": "+what+" is not what it should be: make generate")
}

// sameLines fails with the lines that only one of two texts has.
func sameLines(t *testing.T, want, got, otherwise string) {
	t.Helper()
	if want == got {
		return
	}
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var apart strings.Builder
	for _, side := range []struct {
		sign     string
		of, than []string
	}{{"-", g, w}, {"+", w, g}} {
		for _, line := range side.of {
			if !slices.Contains(side.than, line) {
				fmt.Fprintf(&apart, "%s %s\n", side.sign, line)
			}
		}
	}
	t.Errorf("%s\n%s", otherwise, apart.String())
}
