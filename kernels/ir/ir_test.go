package ir

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func fields(n int) (out []Field) {
	for i := range n {
		out = append(out, Field{Index: i})
	}
	return out
}

func TestBuilder(t *testing.T) {
	b := NewBuilder("f", 32, fields(3))
	x, y := b.Var(0), b.Var(1)
	require.Equal(t, b.Binary(Add, x, y), b.Binary(Add, x, y), "equal nodes are one")
	require.NotEqual(t, b.Binary(Add, x, y), b.Binary(Add, y, x), "sums are not swapped: NaN payloads apart they are equal, but nothing is gained")
	require.NotEqual(t, x, b.Binary(Add, x, b.Const(0)), "x+0 is not x: x may be -0")
	require.NotEqual(t, x, b.Binary(Mul, x, b.Const(1)), "no identity is applied")
	require.NotEqual(t, b.Const(0), b.Const(math.Copysign(0, -1)))

	yes, no, c := b.Bool(true), b.Bool(false), b.Binary(Lt, x, y)
	require.Equal(t, c, b.Binary(And, yes, c))
	require.Equal(t, no, b.Binary(And, c, no))
	require.Equal(t, c, b.Binary(Or, c, no))
	require.Equal(t, yes, b.Binary(Or, yes, c))
	require.Equal(t, no, b.Unary(Not, yes))
	require.Equal(t, x, b.Select(yes, x, y))
	require.Equal(t, y, b.Select(no, x, y))
	require.Equal(t, x, b.Select(c, x, x))

	f := b.Func([]Value{b.Binary(Mul, x, x), y, b.Var(2)})
	require.Equal(t, []Store{{Var: 0, Value: 1}}, f.Stores, "a field that keeps its value is not stored")
	require.Len(t, f.Nodes, 2, "what no store needs is dropped")
	require.Equal(t, []int{0}, f.Loads())
}

// W4: a compiler may know what depends on no field, and one side of a choice.
func TestFixed(t *testing.T) {
	b := NewBuilder("f", 32, fields(2))
	x, two := b.Var(0), b.Const(2)
	less := b.Binary(Lt, x, two)
	for v, want := range map[Value]bool{
		x: false, two: true, b.Binary(Add, two, two): true, b.Unary(Sqrt, two): true, b.Binary(Mul, x, two): false, less: false,
		b.Select(less, x, two): true, b.Select(less, b.Var(1), x): false, b.Unary(Neg, b.Select(less, x, two)): true,
	} {
		require.Equal(t, want, b.Fixed(v), "node %d", v)
	}
}

func TestVarying(t *testing.T) {
	b := NewBuilder("f", 32, []Field{{Bank: 0, Name: "e.P"}, {Bank: 1, Name: "s.A"}})
	uniform := b.Binary(Mul, b.Var(1), b.Const(2))
	f := b.Func([]Value{b.Binary(Add, b.Var(0), uniform), b.Var(1)})
	v := f.Varying(0)
	for i, n := range f.Nodes {
		require.Equal(t, n.Op == Add || n.Op == Var && n.Index == 0, v[i], "node %d, %s", i, n.Op)
	}
}

// A field may enter as something else, and what leaves may go elsewhere.
func TestInline(t *testing.T) {
	b := NewBuilder("f", 64, []Field{{Name: "e.P"}, {Name: "e.G"}})
	p, g := b.Var(0), b.Var(1)
	inner := b.Func([]Value{b.Select(b.Binary(Lt, g, p), b.Unary(Neg, g), b.Binary(Sub, p, g)), g})
	b = NewBuilder("f", 64, append(inner.Vars, Field{Bank: 2, Name: "scale"}))
	final := b.Inline(inner, []Value{b.Var(0), b.Binary(Mul, b.Var(1), b.Var(2))})
	require.Equal(t, b.Binary(Mul, b.Var(1), b.Var(2)), final[1], "a field that keeps its value keeps the one that it entered with")
	f := b.Func([]Value{final[0], b.Var(1), b.Var(2)})
	vars := []float64{10, 2, 3}
	Eval(f, vars)
	require.Equal(t, []float64{-6, 2, 3}, vars)
	vars = []float64{5, 2, 3}
	Eval(f, vars)
	require.Equal(t, []float64{-1, 2, 3}, vars)
}

// Every operation rounds once, at the function's width, and treats special values as IEEE 754 does.
func TestEval(t *testing.T) {
	inf, nan, negZero := math.Inf(1), math.NaN(), math.Copysign(0, -1)
	tests := []struct {
		op   Op
		a, b float64
		want float64 // 1 and 0 for conditions
	}{
		{Add, 1 << 24, 1, 1 << 24}, {Sub, 0, 0x1p-149, -0x1p-149}, {Mul, 0x1p-75, 0x1p-75, 0}, {Mul, 0x1p-74, 0x1p-75, 0x1p-149},
		{Div, 1, 3, float64(float32(1) / 3)}, {Div, 1, negZero, -inf}, {Sqrt, 2, 0, float64(float32(math.Sqrt2))}, {Sqrt, -1, 0, nan},
		{Neg, 0, 0, negZero}, {Abs, negZero, 0, 0}, {Abs, -inf, 0, inf}, {Add, inf, -inf, nan},
		{Lt, 1, 2, 1}, {Lt, nan, 2, 0}, {Le, 2, 2, 1}, {Le, 2, nan, 0}, {Eq, 0, negZero, 1}, {Eq, nan, nan, 0}, {Ne, nan, nan, 1}, {Ne, 1, 1, 0},
	}
	for _, tt := range tests {
		b := NewBuilder("f", 32, fields(2))
		var v Value
		if tt.op.Arity() == 1 {
			v = b.Unary(tt.op, b.Var(0))
		} else {
			v = b.Binary(tt.op, b.Var(0), b.Var(1))
		}
		if b.IsBool(v) {
			v = b.Select(v, b.Const(1), b.Const(0))
		}
		vars := []float32{float32(tt.a), float32(tt.b)}
		Eval(b.Func([]Value{v, b.Var(1)}), vars)
		got, want := vars[0], float32(tt.want)
		require.True(t, math.Float32bits(got) == math.Float32bits(want) || got != got && want != want, "%s(%v, %v) is %v, want %v", tt.op, tt.a, tt.b, got, want)
	}
}

// Two shifts are a rotation where they are of one word, one to the left and one to the right, by 32 together.
func TestRotation(t *testing.T) {
	b := NewBuilder("f", 32, []Field{{Name: "v", Type: U32}, {Name: "w", Type: U32}})
	or := func(x, y Value) Node { return b.f.Nodes[b.Binary(WOr, x, y)] }
	left, right := b.Shift(WShl, b.Var(0), 13), b.Shift(WShr, b.Var(0), 19)
	require.Equal(t, Node{Op: WRotl, A: b.Var(0), Index: 13}, or(left, right))
	require.Equal(t, Node{Op: WRotl, A: b.Var(0), Index: 13}, or(right, left))
	for _, other := range []Value{b.Shift(WShr, b.Var(0), 18), b.Shift(WShr, b.Var(1), 19), b.Shift(WShl, b.Var(0), 19)} {
		require.Equal(t, WOr, or(left, other).Op)
	}
}
