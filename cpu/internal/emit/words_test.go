package emit

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/ir"
)

// stored is a loop that multiplies what is stored in 16 bits by what is in the second plane.
func stored(t *testing.T, set *Set, width int, decode, encode func(b *ir.Builder, x ir.Value) ir.Value) (string, error) {
	t.Helper()
	b := ir.NewBuilder("stored", width, []ir.Field{{Bank: elements, Name: "e.P", Type: ir.U16}, {Bank: elements, Index: 1, Name: "e.G"}})
	f := b.Func([]ir.Value{encode(b, b.Binary(ir.Mul, decode(b, b.Var(0)), b.Var(1))), b.Var(1)})
	code, err := Compile(Loop{Func: f, Planes: []int{0, 1}, Varying: f.Varying(elements), Set: set})
	if err != nil {
		return "", err
	}
	require.Equal(t, -1, code.Index)
	text, err := code.Listing()
	require.NoError(t, err)
	return text, nil
}

// requireCounts wants so many lines of the listing to hold each text.
func requireCounts(t *testing.T, listing string, counts map[string]int) {
	t.Helper()
	for text, n := range counts {
		require.Equal(t, n, strings.Count(listing, text), "%s in\n%s", text, listing)
	}
}

// A half takes one instruction on its way in, and one on its way out: once for each vector of a round, once for the tail.
func TestHalves(t *testing.T) {
	decode := func(b *ir.Builder, x ir.Value) ir.Value { return b.Unary(ir.FromHalf, x) }
	encode := func(b *ir.Builder, x ir.Value) ir.Value { return b.Unary(ir.ToHalf, x) }
	text, err := stored(t, AVX2, 32, decode, encode)
	require.NoError(t, err)
	requireCounts(t, text, map[string]int{"ymm0, xmmword ptr": 3, "vcvtph2ps": 3, "vcvtps2ph xmmword ptr": 3, "vpmovzxwd": 0, "vpackusdw": 0})
	text, err = stored(t, AVX512, 32, decode, encode)
	require.NoError(t, err)
	requireCounts(t, text, map[string]int{"zmm0, ymmword ptr": 1, "zmm0 {k7} {z}, ymmword ptr": 1, "vcvtps2ph ymmword ptr": 2, "vpmovzxwd": 0,
		"vpmovdw": 0})
	for _, set := range []*Set{AVX2, AVX512} {
		_, err = stored(t, set, 64, decode, encode)
		require.ErrorContains(t, err, "emit: stored: node 4 is tohalf, which is not for numbers of 64 bits")
	}
}

// The upper half of a number takes a shift in and out, AVX2 stores that of two vectors at once, and knows that nothing is to be cut off.
func TestUpperHalves(t *testing.T) {
	decode := func(b *ir.Builder, x ir.Value) ir.Value { return b.Unary(ir.FromBits, b.Shift(ir.WShl, x, 16)) }
	encode := func(b *ir.Builder, x ir.Value) ir.Value { return b.Shift(ir.WShr, b.Unary(ir.ToBits, x), 16) }
	text, err := stored(t, AVX2, 32, decode, encode)
	require.NoError(t, err)
	requireCounts(t, text, map[string]int{"vpmovzxwd": 3, "vpslld": 3, "vpsrld": 3, "vpackusdw": 2, "vpermq": 2, "ymmword ptr [r8 + 2*rax], ymm": 1})
	text, err = stored(t, AVX512, 32, decode, encode)
	require.NoError(t, err)
	requireCounts(t, text, map[string]int{"vpmovzxwd": 2, "vpslld": 2, "vpsrld": 2, "vpmovdw": 2})
}

// lines is a loop whose planes all have 16 bits: it adds the second's number to the first's, and nothing to one that is subnormal.
func lines(t *testing.T, set *Set) string {
	t.Helper()
	b := ir.NewBuilder("lines", 32, []ir.Field{{Bank: elements, Name: "e.P", Type: ir.U16}, {Bank: elements, Index: 1, Name: "e.G", Type: ir.U16}})
	decode := func(field int) ir.Value { return b.Unary(ir.FromBits, b.Shift(ir.WShl, b.Var(field), 16)) }
	x := b.Binary(ir.Add, decode(0), decode(1))
	x = b.Select(b.Binary(ir.Lt, b.Unary(ir.Abs, x), b.Const(0x1p-126)), b.Const(0), x)
	bits := b.Unary(ir.ToBits, x)
	odd := b.Binary(ir.WAnd, b.Shift(ir.WShr, bits, 16), b.Word(1))
	rounded := b.Binary(ir.WAdd, b.Binary(ir.WOr, bits, odd), b.Word(0x7fff))
	rounded = b.Select(b.Binary(ir.Ne, x, x), b.Binary(ir.WOr, bits, b.Word(quietBit)), rounded)
	f := b.Func([]ir.Value{b.Shift(ir.WShr, rounded, 16), b.Var(1)})
	code, err := Compile(Loop{Func: f, Planes: []int{0, 1}, Uniforms: f.Uniforms(elements), Varying: f.Varying(elements), Set: set, Near: 1024})
	require.NoError(t, err)
	text, err := code.Listing()
	require.NoError(t, err)
	return text
}

// A round takes a line of each plane, and prefetches it once. Only the tail moves elements across a vector.
func TestLines(t *testing.T) {
	requireCounts(t, lines(t, AVX512), map[string]int{"add rax, 32": 1, "prefetcht0": 1, "prefetchw": 1, "vpmovzxwd": 2, "vpmovdw": 1, "vmovups zmmword ptr [r8": 1,
		"vpternlogd": 4, "vfpclassps": 3, "vfixupimmps": 3, "vcmpps": 0, "vandps": 2})
	requireCounts(t, lines(t, AVX2), map[string]int{"add rax, 32": 1, "prefetcht0": 1, "prefetchw": 1, "vpmovzxwd": 2, "vpackusdw": 1, "vmovups ymmword ptr [r8": 2,
		"vpblendw": 2, "vpermq": 1, "vblendvps": 0})
}
