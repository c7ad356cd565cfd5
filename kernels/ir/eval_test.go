package ir

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// RunEach gives every element what Run gives it, for all operations, from any element on and over more elements than there are lanes.
func TestRunEach(t *testing.T) {
	fields := []Field{{Name: "x"}, {Name: "y"}, {Name: "w", Type: U32}, {Name: "h", Type: U16}, {Name: "s", Bank: 1}, {Name: "u", Bank: 1, Type: U8}}
	const x, y, w, h, s, u = 0, 1, 2, 3, 4, 5
	b := NewBuilder("f", 32, fields)
	choose := b.Binary(Or, b.Binary(And, b.Binary(Lt, b.Var(x), b.Var(y)), b.Binary(WLt, b.Var(w), b.Element(false))),
		b.Binary(Or, b.Unary(Not, b.Binary(Le, b.Var(y), b.Var(s))), b.Binary(And, b.Binary(Ne, b.Var(x), b.Var(s)), b.Binary(WEq, b.Var(u), b.Var(h)))))
	choose = b.Select(b.Binary(Eq, b.Var(x), b.Const(0)), b.Unary(Not, choose), choose)
	number := b.Binary(Sub, b.Binary(Div, b.Unary(Sqrt, b.Unary(Abs, b.Var(x))), b.Var(y)), b.Binary(Mul, b.Var(s), b.Unary(Neg, b.Var(x))))
	word := b.Binary(WXor, b.Binary(WMul, b.Var(w), b.Element(true)), b.Binary(WSub, b.Shift(WShr, b.Var(w), 3), b.Shift(WRotl, b.Shift(WShl, b.Var(u), 5), 9)))
	word = b.Binary(WAdd, b.Binary(WOr, word, b.Binary(WMulHigh, b.Var(w), b.Word(77777))), b.Binary(WAnd, b.Unary(ToBits, number), b.Word(0xff00ff)))
	f := b.Func([]Value{b.Select(choose, number, b.Unary(FromHalf, b.Var(h))), b.Select(choose, b.Unary(FromBits, word), b.Binary(Add, b.Var(x), b.Var(y))),
		b.Select(choose, word, b.Var(w)), b.Unary(ToHalf, number), b.Var(s), b.Var(u)})
	seen := map[Op]bool{}
	for _, n := range f.Nodes {
		seen[n.Op] = true
	}
	for op := range WEq {
		require.True(t, seen[op] || op == Bool, "no %s", op) // a known truth value is no node of anything
	}

	rng := rand.New(rand.NewPCG(1, 2))
	number32 := func() float32 {
		return []float32{0, float32(rng.NormFloat64()), math.Float32frombits(rng.Uint32())}[rng.IntN(3)]
	}
	each := NewEvaluator[float32](f)
	for _, n := range []int{1, 0, 2, maxLanes - 1, maxLanes, 3*maxLanes + 7} {
		vars, words := make([][]float32, len(fields)), make([][]uint32, len(fields))
		for range n {
			vars[x], vars[y] = append(vars[x], number32()), append(vars[y], number32())
			words[w], words[h] = append(words[w], rng.Uint32()), append(words[h], rng.Uint32N(1<<16))
		}
		vars[s], words[u] = []float32{number32()}, []uint32{rng.Uint32N(1 << 8)}
		one := NewEvaluator[float32](f)
		var wantX, wantY []float32
		var wantW, wantH []uint32
		each.Index = 1<<32 - 200
		for k := range n {
			one.Index = each.Index + uint64(k)
			in := []float32{x: vars[x][k], y: vars[y][k], s: vars[s][0], u: 0}
			one.Words = []uint32{w: words[w][k], h: words[h][k], u: words[u][0]}
			one.Run(in)
			wantX, wantY = append(wantX, in[x]), append(wantY, in[y])
			wantW, wantH = append(wantW, one.Words[w]), append(wantH, one.Words[h])
		}
		each.RunEach(n, vars, words)
		for k := range n {
			require.Equal(t, math.Float32bits(wantX[k]), math.Float32bits(vars[x][k]), "%d of %d", k, n)
			require.Equal(t, math.Float32bits(wantY[k]), math.Float32bits(vars[y][k]), "%d of %d", k, n)
		}
		require.Equal(t, wantW, words[w])
		require.Equal(t, wantH, words[h])
	}
}

// An evaluator of uniform nodes finds for them what one of all nodes does, whatever the elements, and leaves fields as they are.
func TestUniformEvaluator(t *testing.T) {
	b := NewBuilder("f", 32, []Field{{Name: "x"}, {Bank: 1, Name: "s"}})
	two := b.Binary(Add, b.Var(1), b.Var(1))
	negative, bits := b.Binary(Lt, two, b.Const(0)), b.Unary(ToBits, two)
	f := b.Func([]Value{b.Select(b.Binary(And, negative, b.Binary(WLt, b.Unary(ToBits, b.Var(0)), bits)), b.Var(0), two), b.Var(1)})
	uniforms := f.Uniforms(0)
	require.Len(t, uniforms, 3)
	for _, s := range []float32{-1.5, 0.25} {
		all, uniform := NewEvaluator[float32](f), NewUniformEvaluator[float32](f, 0)
		all.Run([]float32{3, s})
		vars := []float32{7, s}
		uniform.Run(vars)
		require.Equal(t, []float32{7, s}, vars)
		for _, v := range uniforms {
			switch f.Kind(v) {
			case Number:
				require.Equal(t, all.Number(v), uniform.Number(v))
			case Integer:
				require.Equal(t, all.Integer(v), uniform.Integer(v))
			default:
				require.Equal(t, all.Condition(v), uniform.Condition(v))
			}
		}
	}
}

// Some nodes can be computed again, by other fields, while the others stay.
func TestRunAgain(t *testing.T) {
	b := NewBuilder("f", 64, []Field{{Name: "a"}, {Name: "b", Bank: 1}, {Name: "out"}})
	square := b.Binary(Mul, b.Var(0), b.Var(0))
	sum := b.Binary(Add, square, b.Var(1))
	f := b.Func([]Value{b.Var(0), b.Var(1), sum})
	var again []Value
	for i, varying := range f.Varying(1) {
		if varying {
			again = append(again, Value(i))
		}
	}
	require.Len(t, again, 2)
	e, vars := NewUniformEvaluator[float64](f, 7), []float64{3, 4, 0}
	e.Run(vars)
	result := f.Stores[0].Value
	require.Equal(t, 13.0, e.Number(result))
	vars[0], vars[1] = 100, 5
	e.RunAgain(again)
	require.Equal(t, 14.0, e.Number(result))
}
