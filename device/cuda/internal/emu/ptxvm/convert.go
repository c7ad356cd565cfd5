package ptxvm

import (
	"math"
	"strings"
)

func init() {
	defConvertInt[uint8]("u8")
	defConvertInt[int8]("s8")
	defConvertInt[uint16]("u16")
	defConvertInt[int16]("s16")
	defConvertInt[uint32]("u32")
	defConvertInt[int32]("s32")
	defConvertInt[uint64]("u64")
	defConvertInt[int64]("s64")
	for mode, round := range map[string]func(float64) float64{
		"rni": math.RoundToEven, "rzi": math.Trunc, "rmi": math.Floor, "rpi": math.Ceil,
	} {
		for _, to := range []string{"u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"} {
			for _, from := range []string{"f32", "f64"} {
				defConvert("cvt."+mode+"."+to+"."+from, to, from, raw(floatToInt(typesByName[to], typesByName[from], round)))
			}
		}
		defConvert("cvt."+mode+".f32.f32", "f32", "f32", raw(func(a, _, _, _ uint64) uint64 {
			return put32(float32(round(float64(get32(a)))))
		}))
		defConvert("cvt."+mode+".f64.f64", "f64", "f64", raw(func(a, _, _, _ uint64) uint64 { return put64(round(get64(a))) }))
	}
	defConvert("cvt.f32.f32", "f32", "f32", copyLanes)
	defConvert("cvt.f64.f64", "f64", "f64", copyLanes)
	defConvert("cvt.rn.f32.f64", "f32", "f64", raw(func(a, _, _, _ uint64) uint64 { return put32(float32(get64(a))) }))
	defConvert("cvt.f64.f32", "f64", "f32", raw(func(a, _, _, _ uint64) uint64 { return put64(float64(get32(a))) }))
	defConvert("cvt.rn.bf16.f32", "b16", "f32", raw(func(a, _, _, _ uint64) uint64 { return toBFloat16(uint32(a)) }))
	defConvert("cvt.f32.bf16", "f32", "b16", raw(func(a, _, _, _ uint64) uint64 { return put32(get32(a << 16)) }))
	defConvert("cvt.rn.f16.f32", "b16", "f32", raw(func(a, _, _, _ uint64) uint64 { return toFloat16(get32(a)) }))
	defConvert("cvt.f32.f16", "f32", "b16", raw(func(a, _, _, _ uint64) uint64 { return fromFloat16(uint16(a)) }))
}

func defConvert(mnemonic, to, from string, f aluFunc) {
	def(mnemonic, to+" = "+from, f)
	forms[mnemonic].wide = !strings.Contains(mnemonic, "f16")
}

// defConvertInt defines the conversions from an integer type.
func defConvertInt[S integerType](from string) {
	defNarrow[uint8, S]("u8", from)
	defNarrow[int8, S]("s8", from)
	defNarrow[uint16, S]("u16", from)
	defNarrow[int16, S]("s16", from)
	defNarrow[uint32, S]("u32", from)
	defNarrow[int32, S]("s32", from)
	defNarrow[uint64, S]("u64", from)
	defNarrow[int64, S]("s64", from)
	defConvert("cvt.rn.f32."+from, "f32", from, raw(func(a, _, _, _ uint64) uint64 { return put32(float32(S(a))) }))
	defConvert("cvt.rn.f64."+from, "f64", from, raw(func(a, _, _, _ uint64) uint64 { return put64(float64(S(a))) }))
}

// defNarrow defines a conversion between integers: truncated to the destination's type, then extended as that type says
// to the width of the register.
func defNarrow[D, S integerType](to, from string) {
	defConvert("cvt."+to+"."+from, to, from, func(d, a, _, _, _ *vreg) {
		for i := range d {
			d[i] = uint64(D(S(a[i])))
		}
	})
}

// floatToInt rounds to an integer and clamps it to the type. NaN is 0, or 1 in the top bit alone if either side has 64
// bits: PTX's rule.
func floatToInt(to, from typ, round func(float64) float64) func(a, b, c, e uint64) uint64 {
	width := uint(to.size) * 8
	nan := uint64(0)
	if from.size == 8 || to.size == 8 {
		nan = 1 << (width - 1)
	}
	low, high := 0.0, math.Ldexp(1, int(width)) // high is exclusive
	least, most := uint64(0), ^uint64(0)>>(64-width)
	if to.kind == 's' {
		low, high = -high/2, high/2
		least, most = uint64(1)<<(width-1), most>>1
		least |= ^uint64(0) << width // extended to wider registers
		nan = -nan
	}
	return func(a, _, _, _ uint64) uint64 {
		f := get64(a)
		if from.size == 4 {
			f = float64(get32(a))
		}
		switch f = round(f); {
		case f != f:
			return nan
		case f < low:
			return least
		case f >= high:
			return most
		case to.kind == 's':
			return uint64(int64(f))
		}
		return uint64(f)
	}
}

func toBFloat16(bits uint32) uint64 {
	if bits&0x7fffffff > 0x7f800000 {
		return 0x7fff
	}
	return uint64(bits+0x7fff+bits>>16&1) >> 16
}

func toFloat16(f float32) uint64 {
	bits := math.Float32bits(f)
	sign, abs := bits>>16&0x8000, bits&0x7fffffff
	switch {
	case abs > 0x7f800000:
		return 0x7fff
	case abs >= 0x47800000: // 2¹⁶ and above
		return uint64(sign | 0x7c00)
	case abs < 0x38800000: // below 2⁻¹⁴: multiples of 2⁻²⁴
		return uint64(sign) | uint64(math.RoundToEven(float64(math.Float32frombits(abs))*0x1p24))
	}
	abs -= 112 << 23
	return uint64(sign | (abs+0xfff+abs>>13&1)>>13)
}

func fromFloat16(h uint16) uint64 {
	sign, abs := uint64(h&0x8000)<<16, uint32(h&0x7fff)
	switch {
	case abs > 0x7c00:
		return nan32
	case abs == 0x7c00:
		return sign | 0x7f800000
	case abs < 0x400:
		return sign | uint64(math.Float32bits(float32(abs)*0x1p-24))
	}
	return sign | uint64(abs<<13+112<<23)
}
