package optim_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

var write = flag.Bool("write", false, "write the README's table instead of comparing with it")

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
		state, err := p.State()
		require.NoError(t, err, c.Name)
		n, err := p.BytesPerElement()
		require.NoError(t, err, c.Name)
		written := len(state)
		if slices.Contains(state, "hessian") {
			written-- // by who estimates it, not by a step
		}
		require.Equal(t, 4*(3+len(state)+written), n, "%s: parameter and state are read and written, the gradient is read", c.Name)
	}
}

const (
	tableBegin = "<!-- the table of optim.Cases, by make generate -->\n"
	tableEnd   = "<!-- end of table -->\n"
)

func caseTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| Case | What it is | From | State | Bytes a step, float32 |\n|---|---|---|---|---|\n")
	for _, c := range optim.Cases() {
		p, err := c.Program(device.Float32)
		require.NoError(t, err)
		state, err := p.State()
		require.NoError(t, err)
		n, err := p.BytesPerElement()
		require.NoError(t, err)
		names := "none"
		if len(state) > 0 {
			names = "`" + strings.Join(state, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %d |\n", c.Name, c.Doc, c.Source, names, n)
	}
	return b.String()
}

// The README's table of optimizers is the table of cases.
func TestReadmeTable(t *testing.T) {
	const file = "../README.md"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), tableBegin)
	require.True(t, ok, "the README has no line %s", tableBegin)
	table, after, ok := strings.Cut(rest, tableEnd)
	require.True(t, ok, "the README has no line %s", tableEnd)
	want := caseTable(t)
	if *write {
		require.NoError(t, os.WriteFile(file, []byte(before+tableBegin+want+tableEnd+after), 0o644))
		return
	}
	require.Equal(t, want, table, "the README's table is not that of optim.Cases: make generate")
}
