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

// encodeBFloat16Noisy rounds up, away from 0, where the noise and the bits that are cut off carry: with a probability of these bits / 2¹⁶, as
// torchao does it. What is exact stays, infinity too. A NaN becomes quiet, as it does in encodeBFloat16.
func encodeBFloat16Noisy(x float32, noise uint32) uint32 {
	bits := rule.ToBits(x)
	if x != x {
		bits |= 0x400000
	} else {
		bits += noise
	}
	return bits >> 16
}

// encodeFloat16Noisy is likewise, by the upper 13 bits of the noise: as many bits are cut off a normal number. A smaller one is first rounded to
// nearest, to a multiple of 2⁻³⁷, by a sum with 2⁻¹⁴. That leaves as many bits behind the multiple of 2⁻²⁴ that it becomes. What is rounded up
// from the largest number is infinite.
func encodeFloat16Noisy(x float32, noise uint32) uint32 {
	var shift float32
	if rule.Abs(x) < 0x1p-14 {
		shift = 0x1p-14
	}
	bits := (rule.ToBits(rule.Abs(x)+shift) + noise>>3) &^ 0x1fff
	y := rule.FromBits[float32](bits) - shift
	y = rule.FromBits[float32](rule.ToBits(y) | rule.ToBits(x)&0x80000000)
	if x != x {
		y = x
	}
	return rule.ToHalf(y)
}

// encodeFloat16 rounds to nearest even. Subnormal numbers are kept, what is beyond the largest becomes infinite, and a NaN stays one.
func encodeFloat16(x float32) uint32 { return rule.ToHalf(x) }

// decodeMaster is a master: the weight beside it is not read. The masters' other functions are here because they call those above.
func decodeMaster(weight uint32, master float32) float32 { return master }

// encodeBFloat16Master and encodeFloat16Master are the number rounded to nearest even, and itself.
func encodeBFloat16Master(x float32) (weight uint32, master float32) { return encodeBFloat16(x), x }
func encodeFloat16Master(x float32) (weight uint32, master float32)  { return encodeFloat16(x), x }

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

func storeBFloat16Noisy(planes [][]byte, src []float32, noise []uint32) {
	words := view[uint16](planes[0], len(src))
	for i, x := range src {
		words[i] = uint16(encodeBFloat16Noisy(x, noise[i]))
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

func storeFloat16Noisy(planes [][]byte, src []float32, noise []uint32) {
	words := view[uint16](planes[0], len(src))
	for i, x := range src {
		words[i] = uint16(encodeFloat16Noisy(x, noise[i]))
	}
}

func loadSame[F rule.Float](dst []F, planes [][]byte)  { copy(dst, view[F](planes[0], len(dst))) }
func storeSame[F rule.Float](planes [][]byte, src []F) { copy(view[F](planes[0], len(src)), src) }

// plain are the formats that hold a number in one element of a buffer.
func plain() []*Format {
	return []*Format{
		one(device.Float32, ir.Float, nil, nil, &runs[float32]{load: loadSame[float32], store: storeSame[float32]}),
		one(device.BFloat16, ir.U16, decodeBFloat16[float32], encodeBFloat16, &runs[float32]{load: loadBFloat16[float32], store: storeBFloat16}),
		one(device.Float16, ir.U16, decodeFloat16[float32], encodeFloat16, &runs[float32]{load: loadFloat16[float32], store: storeFloat16}),
		noisy(device.BFloat16, decodeBFloat16[float32], encodeBFloat16Noisy, &runs[float32]{load: loadBFloat16[float32], storeNoisy: storeBFloat16Noisy}),
		noisy(device.Float16, decodeFloat16[float32], encodeFloat16Noisy, &runs[float32]{load: loadFloat16[float32], storeNoisy: storeFloat16Noisy}),

		one(device.Float64, ir.Float, nil, nil, &runs[float64]{load: loadSame[float64], store: storeSame[float64]}),
		one(device.Float32, ir.U32, decodeFloat32[float64], nil, &runs[float64]{load: loadFloat32[float64]}),
		one(device.BFloat16, ir.U16, decodeBFloat16[float64], nil, &runs[float64]{load: loadBFloat16[float64]}),
		one(device.Float16, ir.U16, decodeFloat16[float64], nil, &runs[float64]{load: loadFloat16[float64]}),
	}
}

// one makes a format of one plane. Decode and encode are nil where there is nothing to do, or no way to do it.
func one[F rule.Float](storage device.DType, field ir.Type, decode func(uint32) F, encode func(F) uint32, r *runs[F]) *Format {
	f := &Format{name: storage.Short(), compute: device.DTypeOf[F](), planes: []Plane{{"", storage, field}}, runs: r}
	if decode != nil {
		f.decode = graph(decode, f.compute, plainSource)
	}
	if encode != nil {
		f.encode = graph(encode, f.compute, plainSource)
	}
	return f
}

// noisy makes a format of one plane of 16 bits that rounds stochastically.
func noisy(storage device.DType, decode func(uint32) float32, encode func(float32, uint32) uint32, r *runs[float32]) *Format {
	f := one(storage, ir.U16, decode, nil, r)
	f.name, f.encode, f.noisy = storage.Short()+"/sr", graph(encode, f.compute, plainSource), true
	return f
}

// graph is what a function of the source becomes, when it is first asked for. That it is none is a mistake in this package.
func graph(fn any, compute device.DType, source string) func() *ir.Func {
	return sync.OnceValue(func() *ir.Func {
		f, err := rule.FormatFunction(fn, 8*compute.Size(), source)
		if err != nil {
			panic(err)
		}
		return f
	})
}
