package format

import (
	"flag"
	"fmt"
	"math"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

func must(t *testing.T, name string, compute device.DType) *Format {
	f, err := Parse(name, compute)
	require.NoError(t, err)
	return f
}

func bytes[T any](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(x[0])))
}

// decoder makes an evaluator of what Decode adds to a graph.
func decoder[F rule.Float](f *Format) func(w uint32) F {
	vars := []ir.Field{{Name: "memory", Type: f.planes[0].Type}, {Bank: 1, Name: "x"}}
	b := ir.NewBuilder(f.name, 8*f.compute.Size(), vars)
	e := ir.NewEvaluator[F](b.Func([]ir.Value{b.Var(0), f.Decode(b, []ir.Value{b.Var(0)})}))
	x := make([]F, 2)
	return func(w uint32) F {
		e.Words[0] = w
		e.Run(x)
		return x[1]
	}
}

// encoder makes an evaluator of what Encode adds to a graph.
func encoder(f *Format) func(x float32) uint32 {
	vars := []ir.Field{{Name: "x"}, {Bank: 1, Name: "memory", Type: f.planes[0].Type}}
	b := ir.NewBuilder(f.name, 32, vars)
	e := ir.NewEvaluator[float32](b.Func([]ir.Value{b.Var(0), f.Encode(b, b.Var(0), 0)[0]}))
	in := make([]float32, 2)
	return func(x float32) uint32 {
		in[0] = x
		e.Run(in)
		return e.Words[1]
	}
}

// layout is what is meant by a format of 16 bits: a sign, bits of the exponent, and bits of a fraction.
type layout struct {
	exponent, fraction int
	middles            []float64 // halfway between a magnitude, which is the bits without the sign, and the next; exact, as float64 is
}

var layouts = map[string]*layout{"bf16": newLayout(8, 7), "f16": newLayout(5, 10)}

func newLayout(exponent, fraction int) *layout {
	l := &layout{exponent: exponent, fraction: fraction}
	for m := range l.infinite() {
		next := l.number(m + 1)
		if m+1 == l.infinite() {
			next = l.limit()
		}
		l.middles = append(l.middles, (l.number(m)+next)/2)
	}
	return l
}

func (l *layout) infinite() uint32 { return uint32(1<<l.exponent-1) << l.fraction }

// limit is the number after the largest, if the exponent had a bit more. From halfway to it on, numbers are infinite.
func (l *layout) limit() float64 { return math.Ldexp(1, 1<<(l.exponent-1)) }

// number is what the bits stand for.
func (l *layout) number(w uint32) float64 {
	sign, exp, frac := 1-2*float64(w>>15), int(w>>l.fraction)&(1<<l.exponent-1), float64(w&(1<<l.fraction-1))
	bias := 1<<(l.exponent-1) - 1
	switch {
	case exp == 1<<l.exponent-1 && frac != 0:
		return math.NaN()
	case exp == 1<<l.exponent-1:
		return sign * math.Inf(1)
	case exp == 0:
		return sign * math.Ldexp(frac, 1-bias-l.fraction)
	}
	return sign * math.Ldexp(frac+math.Ldexp(1, l.fraction), exp-bias-l.fraction)
}

// rightly says whether w is x rounded to nearest even: neither neighbour of w is nearer, and if one is as near, w is even. A NaN is
// quiet. The sign is x's.
func (l *layout) rightly(x float32, w uint32) bool {
	if w > math.MaxUint16 || w>>15 != math.Float32bits(x)>>31 {
		return false
	}
	m, abs := w&0x7fff, math.Abs(float64(x))
	switch {
	case x != x:
		return m > l.infinite() && w>>(l.fraction-1)&1 == 1
	case m > l.infinite():
		return false
	case m < l.infinite() && (abs > l.middles[m] || abs == l.middles[m] && m&1 == 1):
		return false
	case m > 0 && (abs < l.middles[m-1] || abs == l.middles[m-1] && m&1 == 1):
		return false
	}
	return true
}

func equal[F rule.Float](a, b F) bool {
	return a != a && b != b || a == b && math.Signbit(float64(a)) == math.Signbit(float64(b))
}

// All 65,536 patterns of a format are the numbers that its layout says, in float32 and in float64, and come back. A NaN becomes quiet.
func TestPatterns(t *testing.T) {
	words := make([]uint16, 1<<16)
	for i := range words {
		words[i] = uint16(i)
	}
	for name, l := range layouts {
		f, wide := must(t, name, device.Float32), must(t, name, device.Float64)
		x32, x64, back := make([]float32, len(words)), make([]float64, len(words)), make([]uint16, len(words))
		Load(f, x32, [][]byte{bytes(words)})
		Load(wide, x64, [][]byte{bytes(words)})
		Store(f, [][]byte{bytes(back)}, x32, nil)
		decode, decodeWide, encode := decoder[float32](f), decoder[float64](wide), encoder(f)
		for i := range words {
			w := uint32(i)
			want := l.number(w)
			if !equal(want, float64(x32[i])) || !equal(want, x64[i]) || !equal(x32[i], decode(w)) || !equal(x64[i], decodeWide(w)) {
				t.Fatalf("%s %#04x is %v: Load gives %v and %v, the graphs %v and %v", name, w, want, x32[i], x64[i], decode(w), decodeWide(w))
			}
			if want != want {
				w |= 1 << (l.fraction - 1)
			}
			if got := encode(x32[i]); uint32(back[i]) != w || got != w {
				t.Fatalf("%s %#04x is %v, and comes back as %#04x from Store, %#04x from the graph", name, i, want, back[i], got)
			}
		}
	}
}

// checker fails unless Store and the graph agree on each number, and rightly.
func checker(t *testing.T, name string) func(x []float32) {
	l, f := layouts[name], must(t, name, device.Float32)
	encode, words := encoder(f), make([]uint16, 1<<16)
	return func(x []float32) {
		got := words[:len(x)]
		Store(f, [][]byte{bytes(got)}, x, nil)
		for i, x := range x {
			if w := uint32(got[i]); !l.rightly(x, w) || encode(x) != w {
				t.Fatalf("%v (%#08x) becomes %#04x, which is %v, by Store, %#04x by the graph", x, math.Float32bits(x), w, l.number(w), encode(x))
			}
		}
	}
}

// Encoding is to nearest even, of all numbers of the format, of what is halfway between two of them, of what is beside either, and of
// each sign and exponent with the upper 8 bits of fractions.
func TestEncode(t *testing.T) {
	for name, l := range layouts {
		t.Run(name, func(t *testing.T) {
			check, x := checker(t, name), make([]float32, 7)
			near := func(bits uint32) {
				for i := range x {
					x[i] = math.Float32frombits(bits + uint32(i) - 3)
				}
				check(x)
			}
			for w := range uint32(1 << 16) {
				a, b := l.number(w), l.number(w+1)
				if math.IsInf(b, 0) {
					b = math.Copysign(l.limit(), a)
				}
				near(math.Float32bits(float32(a)))
				near(math.Float32bits(float32((a + b) / 2)))
			}
			for bits := range uint32(1 << 17) {
				near(bits << 15)
			}
		})
	}
}

var exhaustive = flag.Bool("exhaustive", false, "encode all float32s")

// TestEncodeAll is TestEncode for all float32s. It takes minutes.
func TestEncodeAll(t *testing.T) {
	if !*exhaustive {
		t.Skip("without -exhaustive")
	}
	const shards = 1 << 6
	for name := range layouts {
		for shard := range uint32(shards) {
			t.Run(fmt.Sprint(name, shard), func(t *testing.T) {
				t.Parallel()
				check, x := checker(t, name), make([]float32, 1<<16)
				for upper := shard; upper < 1<<16; upper += shards {
					for lower := range x {
						x[lower] = math.Float32frombits(upper<<16 | uint32(lower))
					}
					check(x)
				}
			})
		}
	}
}

func TestFloat32InFloat64(t *testing.T) {
	f := must(t, "f32", device.Float64)
	decode := decoder[float64](f)
	for _, x := range []float32{0, float32(math.Copysign(0, -1)), 1, -0.1, 1e-45, -math.MaxFloat32, float32(math.Inf(-1)), float32(math.NaN())} {
		got := []float64{0}
		Load(f, got, [][]byte{bytes([]float32{x})})
		require.True(t, equal(float64(x), got[0]), "%v: %v", x, got[0])
		require.True(t, equal(got[0], decode(math.Float32bits(x))), "%v", x)
	}
}

func TestIdentity(t *testing.T) {
	for _, compute := range []device.DType{device.Float32, device.Float64} {
		f := must(t, compute.String(), compute)
		require.True(t, f.Identity() && f.Encodes())
		require.Equal(t, []Plane{{DType: compute, Type: ir.Float}}, f.Planes())
		b := ir.NewBuilder("", 8*compute.Size(), []ir.Field{{}})
		x := b.Var(0)
		require.Equal(t, x, f.Decode(b, []ir.Value{x}))
		require.Equal(t, []ir.Value{x}, f.Encode(b, x, 0))
		require.Equal(t, 1, b.Len(), "no operation is added")
	}
	x, y := []float64{1, math.Inf(1), -0.1}, make([]float64, 3)
	f := must(t, "f64", device.Float64)
	Load(f, y, [][]byte{bytes(x)})
	require.Equal(t, x, y)
	x[0] = 7
	Store(f, [][]byte{bytes(y)}, x[:2], nil)
	require.Equal(t, x, y)
}

// What is read of a format in a dump has the names of its source.
func TestNames(t *testing.T) {
	b := ir.NewBuilder("", 32, []ir.Field{{}, {Bank: 1, Type: ir.U16}})
	f := b.Func([]ir.Value{b.Var(0), must(t, "bf16", device.Float32).Encode(b, b.Var(0), 0)[0]})
	require.Contains(t, f.Names, "bits")
	require.Contains(t, f.Names, "upper")
}

func TestRunsDoNotAllocate(t *testing.T) {
	x, w := make([]float32, 100), make([]uint16, 100)
	f, planes := must(t, "bf16", device.Float32), [][]byte{bytes(w)}
	require.Zero(t, testing.AllocsPerRun(10, func() {
		Load(f, x, planes)
		Store(f, planes, x, nil)
	}))
	Load[float32](f, nil, [][]byte{nil})
	require.Panics(t, func() { Load(f, x, [][]byte{bytes(w)[:199]}) }, "memory too short")
	require.Panics(t, func() { Load(f, []float64{0}, planes) }, "not the compute type")
}
