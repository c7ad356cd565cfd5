package ir

import "math"

// FromFloat16 is the number whose binary16 bits are h, exactly. A NaN is a quiet one with h's sign and payload.
func FromFloat16(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&0x3ff)
	switch exp {
	case 0: // frac · 2⁻²⁴, which is exact
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 31:
		bits := sign | 0x7f800000 | frac<<13
		if frac != 0 {
			bits |= 1 << 22
		}
		return math.Float32frombits(bits)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// ToFloat16 is x rounded to binary16, to nearest even: beyond the largest it is infinite, subnormals are kept. A NaN is a quiet one with
// x's sign and the upper bits of its payload.
func ToFloat16(x float32) uint16 {
	bits := math.Float32bits(x)
	sign, abs := uint16(bits>>16&0x8000), bits&^(1<<31)
	switch {
	case abs > 0x7f800000:
		return sign | 0x7e00 | uint16(abs>>13&0x1ff)
	case abs >= 0x477ff000: // 65520, halfway between the largest and 2¹⁶
		return sign | 0x7c00
	case abs < 0x38800000: // 2⁻¹⁴: a sum with 0.5 has what is kept in its last bits
		return sign | uint16(math.Float32bits(math.Float32frombits(abs)+0.5)-math.Float32bits(0.5))
	}
	abs -= (127 - 15) << 23
	return sign | uint16((abs+0xfff+abs>>13&1)>>13)
}
