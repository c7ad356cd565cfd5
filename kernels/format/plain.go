package format

import (
	_ "embed"
	"sync"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed plain.go
var plainSource string

// decodeFloat32 is the number whose bits are w.
func decodeFloat32[F rule.Float](w uint32) F { return rule.FromBits[F](w) }

// decodeBFloat16 is the number whose bits as a bfloat16 are w: a float32 without its lower 16.
func decodeBFloat16[F rule.Float](w uint32) F { return rule.FromBits[F](w << 16) }

// encodeBFloat16 rounds to nearest even, by a sum that carries into the upper 16 bits: from more than half on, where they are odd from
// half on. Subnormal numbers are kept; what is beyond the largest becomes infinite, as the carry goes into the exponent. A NaN stays one, with its
// sign: it is made quiet, as the bits that are cut off may be all that it has.
func encodeBFloat16(x float32) uint32 {
	bits := rule.ToBits(x)
	upper := bits >> 16
	rounded := (bits | upper&1) + 0x7fff
	if x != x {
		rounded = bits | 0x400000
	}
	return rounded >> 16
}

// decodeFloat16 is the number whose bits as an IEEE 754 binary16 are w.
func decodeFloat16[F rule.Float](w uint32) F { return rule.FromHalf[F](w) }

// encodeFloat16 rounds to nearest even. Subnormal numbers are kept, what is beyond the largest becomes infinite, and a NaN stays one.
func encodeFloat16(x float32) uint32 { return rule.ToHalf(x) }

// The loops over runs call the functions directly, so that the compiler inlines them: by func values they take four times as long.

func loadFloat32[F rule.Float](dst []F, planes [][]byte) {
	for i, w := range view[uint32](planes[0], len(dst)) {
		dst[i] = decodeFloat32[F](w)
	}
}

func loadBFloat16[F rule.Float](dst []F, planes [][]byte) {
	for i, w := range view[uint16](planes[0], len(dst)) {
		dst[i] = decodeBFloat16[F](uint32(w))
	}
}

func storeBFloat16(planes [][]byte, src []float32) {
	words := view[uint16](planes[0], len(src))
	for i, x := range src {
		words[i] = uint16(encodeBFloat16(x))
	}
}

func loadFloat16[F rule.Float](dst []F, planes [][]byte) {
	for i, w := range view[uint16](planes[0], len(dst)) {
		dst[i] = decodeFloat16[F](uint32(w))
	}
}

func storeFloat16(planes [][]byte, src []float32) {
	words := view[uint16](planes[0], len(src))
	for i, x := range src {
		words[i] = uint16(encodeFloat16(x))
	}
}

func loadSame[F rule.Float](dst []F, planes [][]byte)  { copy(dst, view[F](planes[0], len(dst))) }
func storeSame[F rule.Float](planes [][]byte, src []F) { copy(view[F](planes[0], len(src)), src) }

// plain are the formats that hold a number in one element of a buffer.
func plain() []*Format {
	return []*Format{
		one(device.Float32, ir.Float, nil, nil, &runs[float32]{loadSame[float32], storeSame[float32]}),
		one(device.BFloat16, ir.U16, decodeBFloat16[float32], encodeBFloat16, &runs[float32]{loadBFloat16[float32], storeBFloat16}),
		one(device.Float16, ir.U16, decodeFloat16[float32], encodeFloat16, &runs[float32]{loadFloat16[float32], storeFloat16}),

		one(device.Float64, ir.Float, nil, nil, &runs[float64]{loadSame[float64], storeSame[float64]}),
		one(device.Float32, ir.U32, decodeFloat32[float64], nil, &runs[float64]{load: loadFloat32[float64]}),
		one(device.BFloat16, ir.U16, decodeBFloat16[float64], nil, &runs[float64]{load: loadBFloat16[float64]}),
		one(device.Float16, ir.U16, decodeFloat16[float64], nil, &runs[float64]{load: loadFloat16[float64]}),
	}
}

// one makes a format of one plane. Decode and encode are nil where there is nothing to do, or no way to do it.
func one[F rule.Float](storage device.DType, field ir.Type, decode func(uint32) F, encode func(F) uint32, r *runs[F]) *Format {
	f := &Format{name: storage.Short(), compute: device.DTypeOf[F](), planes: []Plane{{storage, field}}, runs: r}
	if decode != nil {
		f.decode = graph(decode, f.compute)
	}
	if encode != nil {
		f.encode = graph(encode, f.compute)
	}
	return f
}

// graph is what a function of this file becomes, when it is first asked for. That it is none is a mistake in this package.
func graph(fn any, compute device.DType) func() *ir.Func {
	return sync.OnceValue(func() *ir.Func {
		f, err := rule.FormatFunction(fn, 8*compute.Size(), plainSource)
		if err != nil {
			panic(err)
		}
		return f
	})
}
