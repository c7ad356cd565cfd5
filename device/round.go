package device

import (
	"math"

	"github.com/fusestep/fusestep/kernels/ir"
)

// Round is the number of the type that is nearest to x, ties to even. What is beyond the largest becomes infinite, and what is less than
// half the smallest 0, of x's sign.
func (t DType) Round(x float64) float64 {
	switch t {
	case Float32:
		return float64(float32(x))
	case BFloat16, Float16:
		return float64(t.decode(t.encode(x)))
	}
	return x
}

// encode is the bits of x, rounded to a type of 16 bits.
func (t DType) encode(x float64) uint16 {
	y := odd(x)
	if t == Float16 {
		return ir.ToFloat16(y)
	}
	bits := math.Float32bits(y)
	if y != y {
		return uint16(bits>>16 | 0x40)
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// decode is the number whose bits in a type of 16 bits are w.
func (t DType) decode(w uint16) float32 {
	if t == Float16 {
		return ir.FromFloat16(w)
	}
	return math.Float32frombits(uint32(w) << 16)
}

// odd is x, or else, of the two float32 beside it, the one whose last bit is 1. So rounding it again rounds x once: a tie stays one, and
// what is beside a tie stays beside it.
func odd(x float64) float32 {
	y := float32(x)
	if x == float64(y) || x != x {
		return y
	}
	bits := math.Float32bits(y)
	if math.Abs(float64(y)) > math.Abs(x) {
		bits--
	}
	return math.Float32frombits(bits | 1)
}
