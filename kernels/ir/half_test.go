package ir

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHalf goes through all of binary16: each number comes back, and so does every float32 beside what lies halfway between two of
// them, rounded to the nearer.
func TestHalf(t *testing.T) {
	require.Equal(t, float32(1), FromFloat16(0x3c00))
	require.Equal(t, float32(65504), FromFloat16(0x7bff))
	require.Equal(t, float32(0x1p-24), FromFloat16(1))
	require.Equal(t, float32(0x1p-14), FromFloat16(0x0400))
	require.Equal(t, float32(-0.333251953125), FromFloat16(0xb555))
	for h := range uint32(1 << 16) {
		h := uint16(h)
		x := FromFloat16(h)
		if x != x {
			require.Equal(t, h|0x200, ToFloat16(x), "%#x", h)
			continue
		}
		require.Equal(t, h, ToFloat16(x), "%#x", h)
		if h&0x7fff >= 0x7c00 {
			continue
		}
		next := float64(FromFloat16(h + 1))
		if h&0x7fff == 0x7bff {
			next = math.Copysign(0x1p16, float64(x)) // which is infinite
		}
		middle := float32((float64(x) + next) / 2) // exact: one bit more
		even := h + h&1
		require.Equal(t, even, ToFloat16(middle), "%#x: halfway to the next", h)
		require.Equal(t, h, ToFloat16(math.Float32frombits(math.Float32bits(middle)-1)), "%#x: below halfway", h)
		require.Equal(t, h+1, ToFloat16(math.Float32frombits(math.Float32bits(middle)+1)), "%#x: beyond halfway", h)
	}
	require.Equal(t, uint16(0x7c00), ToFloat16(math.MaxFloat32))
	require.Equal(t, uint16(0x8000), ToFloat16(-math.SmallestNonzeroFloat32))
}

// TestWords runs each operation on words.
func TestWords(t *testing.T) {
	fields := []Field{{Index: 0, Name: "a", Type: U32}, {Index: 1, Name: "b", Type: U16}, {Index: 2, Name: "c", Type: U8}, {Index: 3, Name: "x"}}
	const a, b = uint32(0xdeadbeef), uint32(0x8765)
	for _, tt := range []struct {
		name string
		make func(g *Builder) Value
		want uint32
	}{
		{"add", func(g *Builder) Value { return g.Binary(WAdd, g.Var(0), g.Word(math.MaxUint32)) }, a - 1},
		{"sub", func(g *Builder) Value { return g.Binary(WSub, g.Var(1), g.Var(0)) }, 0x2152c876},
		{"mul", func(g *Builder) Value { return g.Binary(WMul, g.Var(0), g.Var(0)) }, 0x216da321},
		{"mulhigh", func(g *Builder) Value { return g.Binary(WMulHigh, g.Var(0), g.Var(0)) }, 0xc1b1cd12},
		{"and", func(g *Builder) Value { return g.Binary(WAnd, g.Var(0), g.Var(1)) }, 0x8665},
		{"or", func(g *Builder) Value { return g.Binary(WOr, g.Var(0), g.Var(1)) }, 0xdeadbfef},
		{"xor", func(g *Builder) Value { return g.Binary(WXor, g.Var(0), g.Var(1)) }, 0xdead398a},
		{"shl", func(g *Builder) Value { return g.Shift(WShl, g.Var(1), 31) }, 1 << 31},
		{"shr", func(g *Builder) Value { return g.Shift(WShr, g.Var(0), 31) }, 1},
		{"rotl", func(g *Builder) Value { return g.Shift(WRotl, g.Var(0), 31) }, 0xef56df77},
		{"lt", func(g *Builder) Value {
			return g.Select(g.Binary(WLt, g.Var(1), g.Var(0)), g.Var(0), g.Word(7))
		}, a},
		{"eq", func(g *Builder) Value {
			return g.Select(g.Binary(WEq, g.Var(1), g.Var(0)), g.Var(0), g.Word(7))
		}, 7},
		{"element", func(g *Builder) Value { return g.Binary(WXor, g.Element(false), g.Element(true)) }, 0x11111117 ^ 0x22},
		{"bits", func(g *Builder) Value { return g.Unary(ToBits, g.Var(3)) }, 0xbfc00000},
		{"half", func(g *Builder) Value { return g.Unary(ToHalf, g.Unary(FromHalf, g.Var(1))) }, b},
		{"frombits", func(g *Builder) Value { return g.Unary(ToBits, g.Unary(FromBits, g.Var(0))) }, a},
	} {
		g := NewBuilder(tt.name, 32, fields)
		v := tt.make(g)
		f := g.Func([]Value{v, v, v, g.Var(3)})
		e := NewEvaluator[float32](f)
		copy(e.Words, []uint32{a, b, 0xff, 9})
		e.Index = 0x22_11111117
		vars := []float32{0, 0, 0, -1.5}
		e.Run(vars)
		require.Equal(t, []uint32{tt.want, tt.want & 0xffff, tt.want & 0xff, 9}, e.Words, tt.name)
		require.Equal(t, float32(-1.5), vars[3])
		require.Equal(t, Integer, f.Kind(f.Stores[0].Value), tt.name)
	}
}
