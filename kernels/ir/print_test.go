package ir

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	b := NewBuilder("f", 32, []Field{{Name: "e.P"}, {Name: "e.β"}, {Bank: 1, Name: "s.A"}})
	twice := b.Binary(Mul, b.Var(2), b.Const(2))
	b.Label(twice, "a")
	tiny := b.Binary(Lt, b.Unary(Abs, b.Var(0)), b.SmallestNormal())
	p := b.Select(tiny, b.Unary(Neg, b.Const(-1)), b.Binary(Add, b.Var(0), twice))
	b.Label(p, "e.P")
	f := b.Func([]Value{p, b.Var(0), b.Var(2)})
	require.Equal(t, `v2 = s.A * 2             // uniform: a
v4 = abs(e.P)
v6 = v4 < 1.1754944e-38
v8 = neg(-1)             // uniform
v9 = e.P + v2
v10 = v6 ? v8 : v9       // e.P
e.P = v10
e.β = e.P
`, f.Text(f.Varying(0)))
	require.NotContains(t, f.Text(nil), "uniform")
}

// Each operation has a form for as many operands as it has.
func TestTextForms(t *testing.T) {
	for op := Add; int(op) < len(opNames); op++ {
		f := &Func{Width: 32, Vars: []Field{{Name: "x"}, {Name: "y"}, {Name: "z"}}, Names: make([]string, 4),
			Nodes: []Node{{Op: Var}, {Op: Var, Index: 1}, {Op: Var, Index: 2}, {Op: op, A: 0, B: 1, C: 2, Index: 7}}, Stores: []Store{{Var: 0, Value: 3}}}
		text := f.Text(nil)
		require.NotContains(t, text, "%!", op)
		for i, name := range []string{"x", "y", "z"} {
			require.Equal(t, i < op.Arity(), strings.Contains(text[len("v3 = "):strings.IndexByte(text, '\n')], name), "%s: %s", op, text)
		}
		require.Equal(t, op == WShl || op == WShr || op == WRotl, strings.Contains(text, "7\n"), text)
	}
}
