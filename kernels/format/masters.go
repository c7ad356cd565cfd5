package format

import (
	_ "embed"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed masters.go
var mastersSource string

// The names of the plane that stands beside a weight of 16 bits.
const (
	master    = "master"
	remainder = "remainder"
)

// decodeBFloat16Int16 is the number whose bits are the weight's, in the upper half, and what the remainder, as an int16, adds to them.
// These are Transformer Engine's two arrays: AdamFunctorMasterParamRemainder in its common/multi_tensor/adam.cu.
func decodeBFloat16Int16(weight, remainder uint32) float32 {
	return rule.FromBits[float32](weight<<16 + (remainder ^ 0x8000 - 0x8000))
}

// encodeBFloat16Int16 keeps all bits: the weight is the nearest bfloat16, of two as near the one away from zero, and the remainder the
// lower half of the bits, which is what they are beyond the weight's.
func encodeBFloat16Int16(x float32) (weight, remainder uint32) {
	bits := rule.ToBits(x)
	if x != x {
		bits = shownNaN(bits)
	}
	return (bits + 0x8000) >> 16, bits & 0xffff
}

// decodeBFloat16Int8 is decodeBFloat16Int16 of a remainder without its lower byte.
func decodeBFloat16Int8(weight, remainder uint32) float32 {
	return rule.FromBits[float32](weight<<16 + (remainder^0x80-0x80)<<8)
}

// encodeBFloat16Int8 rounds to 24 bits, to nearest even, and is then encodeBFloat16Int16 without the lower byte, which is 0. What is
// beyond the largest of 24 bits becomes infinite. A NaN is cut off, not rounded.
func encodeBFloat16Int8(x float32) (weight, remainder uint32) {
	bits := rule.ToBits(x)
	if x != x {
		bits = shownNaN(bits)
	} else {
		bits += 0x7f + bits>>8&1
	}
	return (bits + 0x8000) >> 16, bits >> 8 & 0xff
}

// shownNaN is the bits of a NaN whose weight is a NaN too. Of each sign the 32,767 NaNs that would be nearest to infinity are made quiet,
// and the 32,768 that would carry out of 0x7fff, into the sign, lose the bit that carries. All others stay. Fewer cannot change: there are
// 2²³-1 NaNs of a sign, and 127 NaN weights with 2¹⁶ remainders, 65,535 less.
func shownNaN(bits uint32) uint32 {
	upper := bits & 0x7fff8000
	switch {
	case upper == 0x7f800000:
		bits |= 0x400000
	case upper == 0x7fff8000:
		bits ^= 0x8000
	}
	return bits
}

func loadMaster(dst []float32, planes [][]byte) { loadSame(dst, planes[1:]) }

func storeBFloat16Master(planes [][]byte, src []float32) {
	storeBFloat16(planes, src)
	storeSame(planes[1:], src)
}

func storeFloat16Master(planes [][]byte, src []float32) {
	storeFloat16(planes, src)
	storeSame(planes[1:], src)
}

func loadBFloat16Int16(dst []float32, planes [][]byte) {
	weights, remainders := view[uint16](planes[0], len(dst)), view[uint16](planes[1], len(dst))
	for i, w := range weights {
		dst[i] = decodeBFloat16Int16(uint32(w), uint32(remainders[i]))
	}
}

func storeBFloat16Int16(planes [][]byte, src []float32) {
	weights, remainders := view[uint16](planes[0], len(src)), view[uint16](planes[1], len(src))
	for i, x := range src {
		w, r := encodeBFloat16Int16(x)
		weights[i], remainders[i] = uint16(w), uint16(r)
	}
}

func loadBFloat16Int8(dst []float32, planes [][]byte) {
	weights, remainders := view[uint16](planes[0], len(dst)), view[uint8](planes[1], len(dst))
	for i, w := range weights {
		dst[i] = decodeBFloat16Int8(uint32(w), uint32(remainders[i]))
	}
}

func storeBFloat16Int8(planes [][]byte, src []float32) {
	weights, remainders := view[uint16](planes[0], len(src)), view[uint8](planes[1], len(src))
	for i, x := range src {
		w, r := encodeBFloat16Int8(x)
		weights[i], remainders[i] = uint16(w), uint8(r)
	}
}

// masters are the formats of a weight of 16 bits and, in a plane of its own, a wider number: the master itself, in float32, or the
// remainder, of which and of the weight the master is made.
func masters() []*Format {
	return []*Format{
		beside(device.BFloat16, Plane{master, device.Float32, ir.Float}, graph(decodeMaster, device.Float32, plainSource),
			graph(encodeBFloat16Master, device.Float32, plainSource), &runs[float32]{load: loadMaster, store: storeBFloat16Master}),
		beside(device.Float16, Plane{master, device.Float32, ir.Float}, graph(decodeMaster, device.Float32, plainSource),
			graph(encodeFloat16Master, device.Float32, plainSource), &runs[float32]{load: loadMaster, store: storeFloat16Master}),
		beside(device.BFloat16, Plane{remainder, device.Int16, ir.U16}, graph(decodeBFloat16Int16, device.Float32, mastersSource),
			graph(encodeBFloat16Int16, device.Float32, mastersSource), &runs[float32]{load: loadBFloat16Int16, store: storeBFloat16Int16}),
		beside(device.BFloat16, Plane{remainder, device.Int8, ir.U8}, graph(decodeBFloat16Int8, device.Float32, mastersSource),
			graph(encodeBFloat16Int8, device.Float32, mastersSource), &runs[float32]{load: loadBFloat16Int8, store: storeBFloat16Int8}),
	}
}

// beside makes a format of a weight of 16 bits and a second plane.
func beside(weight device.DType, p Plane, decode, encode func() *ir.Func, r *runs[float32]) *Format {
	return &Format{name: weight.Short() + "+" + p.DType.Short(), compute: device.Float32, planes: []Plane{{"", weight, ir.U16}, p},
		decode: decode, encode: encode, runs: r}
}
