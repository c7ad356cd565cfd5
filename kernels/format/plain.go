package format

import (
	_ "embed"

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

// encodeBFloat16 rounds to nearest even, by a sum that carries into the upper 16 bits. Subnormal numbers are kept; what is beyond the
// largest becomes infinite, as the carry goes into the exponent. A NaN stays one, with its sign: it is made quiet, as the bits that are
// cut off may be all that it has.
func encodeBFloat16(x float32) uint32 {
	bits := rule.ToBits(x)
	upper := bits >> 16
	if x != x {
		return upper | 0x40
	}
	return (bits + (0x7fff + upper&1)) >> 16
}

// decodeFloat16 is the number whose bits as an IEEE 754 binary16 are w.
func decodeFloat16[F rule.Float](w uint32) F { return rule.FromHalf[F](w) }

// encodeFloat16 rounds to nearest even. Subnormal numbers are kept, what is beyond the largest becomes infinite, and a NaN stays one.
func encodeFloat16(x float32) uint32 { return rule.ToHalf(x) }

// plain are the formats that hold a number in one element of a buffer, by compute type.
func plain() []*Format {
	return []*Format{
		same[float32](device.Float32),
		packed[uint16](device.BFloat16, decodeBFloat16[float32], encodeBFloat16),
		packed[uint16](device.Float16, decodeFloat16[float32], encodeFloat16),

		same[float64](device.Float64),
		packed[uint32](device.Float32, decodeFloat32[float64], nil),
		packed[uint16](device.BFloat16, decodeBFloat16[float64], nil),
		packed[uint16](device.Float16, decodeFloat16[float64], nil),
	}
}

// same is the format of a compute type itself.
func same[F rule.Float](t device.DType) *Format {
	return &Format{
		name: t.Short(), compute: t, planes: []Plane{{t, ir.Float}},
		runs: &runs[F]{
			decode: func(dst []F, planes [][]byte) { copy(dst, view[F](planes[0], len(dst))) },
			encode: func(planes [][]byte, src []F) { copy(view[F](planes[0], len(src)), src) },
		},
	}
}

// packed is a format of words that decode makes numbers of. Encode is nil where there is none.
func packed[W uint16 | uint32, F rule.Float](storage device.DType, decode func(uint32) F, encode func(F) uint32) *Format {
	f := &Format{name: storage.Short(), compute: device.DTypeOf[F](), planes: []Plane{{storage, ir.U16}}}
	if storage.Size() == 4 {
		f.planes[0].Type = ir.U32
	}
	r := &runs[F]{decode: func(dst []F, planes [][]byte) {
		for i, w := range view[W](planes[0], len(dst)) {
			dst[i] = decode(uint32(w))
		}
	}}
	f.decode, f.runs = graph(decode, f.compute), r
	if encode != nil {
		f.encode = graph(encode, f.compute)
		r.encode = func(planes [][]byte, src []F) {
			words := view[W](planes[0], len(src))
			for i, x := range src {
				words[i] = W(encode(x))
			}
		}
	}
	return f
}

// graph is what a function of this file becomes. That it is none is a mistake in this package.
func graph(fn any, compute device.DType) *ir.Func {
	f, err := rule.FormatFunction(fn, 8*compute.Size(), plainSource)
	if err != nil {
		panic(err)
	}
	return f
}
