package ptxvm

import (
	"math/bits"
)

type integerType interface {
	uint8 | uint16 | uint32 | uint64 | int8 | int16 | int32 | int64
}

func init() {
	defInt[uint16]("u16")
	defInt[int16]("s16")
	defInt[uint32]("u32")
	defInt[int32]("s32")
	defInt[uint64]("u64")
	defInt[int64]("s64")
	defSigned[int16]("s16")
	defSigned[int32]("s32")
	defSigned[int64]("s64")
	defWide[uint16]("u16", "u32")
	defWide[int16]("s16", "s32")
	defWide[uint32]("u32", "u64")
	defWide[int32]("s32", "s64")
	defBits[uint16]("b16")
	defBits[uint32]("b32")
	defBits[uint64]("b64")
	defBits32()
	for _, t := range []string{"u32", "s32", "u64", "s64"} {
		def("bfe."+t, t+" = "+t+" u32 u32", raw(extractField(typesByName[t])))
	}
	for _, t := range []string{"b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64"} {
		def("slct."+t+".s32", t+" = "+t+" "+t+" s32", raw(func(a, b, c, _ uint64) uint64 {
			if int32(c) >= 0 {
				return a
			}
			return b
		}))
	}
}

func defInt[T integerType](t string) {
	two, three := same(t, 2), same(t, 3)
	width := uint(typesByName[t].size) * 8
	def("add."+t, two, addInt[T])
	def("sub."+t, two, subInt[T])
	def("mul.lo."+t, two, mulInt[T])
	def("mad.lo."+t, three, madInt[T])
	def("mul.hi."+t, two, raw(func(a, b, _, _ uint64) uint64 { return uint64(mulHigh(T(a), T(b), width)) }))
	def("mad.hi."+t, three, raw(func(a, b, c, _ uint64) uint64 { return uint64(mulHigh(T(a), T(b), width) + T(c)) }))
	def("div."+t, two, raw(func(a, b, _, _ uint64) uint64 {
		if T(b) == 0 {
			return ^uint64(0) // what GPUs give; PTX leaves it open
		}
		return uint64(T(a) / T(b))
	}))
	def("rem."+t, two, raw(func(a, b, _, _ uint64) uint64 {
		if T(b) == 0 {
			return a
		}
		return uint64(T(a) % T(b))
	}))
	def("min."+t, two, minInt[T])
	def("max."+t, two, maxInt[T])
	def("shr."+t, t+" = "+t+" u32", shrInt[T])
}

func defSigned[T int16 | int32 | int64](t string) {
	def("neg."+t, same(t, 1), raw(func(a, _, _, _ uint64) uint64 { return -a }))
	def("abs."+t, same(t, 1), raw(func(a, _, _, _ uint64) uint64 {
		if T(a) < 0 {
			return -a
		}
		return a
	}))
}

// defWide defines products twice as wide as their factors.
func defWide[T uint16 | int16 | uint32 | int32](t, double string) {
	def("mul.wide."+t, double+" = "+t+" "+t, func(d, a, b, _, _ *vreg) {
		for i := range d {
			d[i] = uint64(T(a[i])) * uint64(T(b[i]))
		}
	})
	def("mad.wide."+t, double+" = "+t+" "+t+" "+double, func(d, a, b, c, _ *vreg) {
		for i := range d {
			d[i] = uint64(T(a[i]))*uint64(T(b[i])) + c[i]
		}
	})
}

func defBits[T uint16 | uint32 | uint64](t string) {
	def("and."+t, same(t, 2), func(d, a, b, _, _ *vreg) {
		for i := range d {
			d[i] = a[i] & b[i]
		}
	})
	def("or."+t, same(t, 2), func(d, a, b, _, _ *vreg) {
		for i := range d {
			d[i] = a[i] | b[i]
		}
	})
	def("xor."+t, same(t, 2), func(d, a, b, _, _ *vreg) {
		for i := range d {
			d[i] = a[i] ^ b[i]
		}
	})
	def("not."+t, same(t, 1), raw(func(a, _, _, _ uint64) uint64 { return ^a }))
	def("cnot."+t, same(t, 1), raw(func(a, _, _, _ uint64) uint64 { return uint64(btoi(T(a) == 0)) }))
	// Go's shifts by the width or more have PTX's result: no bits, or those of the sign.
	def("shl."+t, t+" = "+t+" u32", func(d, a, b, _, _ *vreg) {
		for i := range d {
			d[i] = uint64(T(a[i]) << uint32(b[i]))
		}
	})
	def("shr."+t, t+" = "+t+" u32", shrInt[T])
}

func defBits32() {
	def("shf.l.wrap.b32", "b32 = b32 b32 u32", raw(func(a, b, c, _ uint64) uint64 { return uint64(uint32((b<<32 | a) << (c & 31) >> 32)) }))
	def("popc.b32", "u32 = b32", raw(func(a, _, _, _ uint64) uint64 { return uint64(bits.OnesCount32(uint32(a))) }))
	def("popc.b64", "u32 = b64", raw(func(a, _, _, _ uint64) uint64 { return uint64(bits.OnesCount64(a)) }))
	def("clz.b32", "u32 = b32", raw(func(a, _, _, _ uint64) uint64 { return uint64(bits.LeadingZeros32(uint32(a))) }))
	def("clz.b64", "u32 = b64", raw(func(a, _, _, _ uint64) uint64 { return uint64(bits.LeadingZeros64(a)) }))
	def("brev.b32", "b32 = b32", raw(func(a, _, _, _ uint64) uint64 { return uint64(bits.Reverse32(uint32(a))) }))
	def("brev.b64", "b64 = b64", raw(func(a, _, _, _ uint64) uint64 { return bits.Reverse64(a) }))
	def("bfi.b32", "b32 = b32 b32 u32 u32", raw(insertField(32)))
	def("bfi.b64", "b64 = b64 b64 u32 u32", raw(insertField(64)))
	def("prmt.b32", "b32 = b32 b32 b32", raw(permute))
	def("lop3.b32", "b32 = b32 b32 b32 b32", raw(lop3))
	for _, wrap := range []bool{true, false} {
		for _, left := range []bool{true, false} {
			name := map[bool]string{true: "shf.l.", false: "shf.r."}[left] + map[bool]string{true: "wrap", false: "clamp"}[wrap]
			def(name+".b32", "b32 = b32 b32 u32", raw(funnel(left, wrap)))
		}
	}
}

func addInt[T integerType](d, a, b, _, _ *vreg) {
	for i := range d {
		d[i] = uint64(T(a[i]) + T(b[i]))
	}
}

func subInt[T integerType](d, a, b, _, _ *vreg) {
	for i := range d {
		d[i] = uint64(T(a[i]) - T(b[i]))
	}
}

func mulInt[T integerType](d, a, b, _, _ *vreg) {
	for i := range d {
		d[i] = uint64(T(a[i]) * T(b[i]))
	}
}

func madInt[T integerType](d, a, b, c, _ *vreg) {
	for i := range d {
		d[i] = uint64(T(a[i])*T(b[i]) + T(c[i]))
	}
}

func minInt[T integerType](d, a, b, _, _ *vreg) {
	for i := range d {
		d[i] = uint64(min(T(a[i]), T(b[i])))
	}
}

func maxInt[T integerType](d, a, b, _, _ *vreg) {
	for i := range d {
		d[i] = uint64(max(T(a[i]), T(b[i])))
	}
}

func shrInt[T integerType](d, a, b, _, _ *vreg) {
	for i := range d {
		d[i] = uint64(T(a[i]) >> uint32(b[i]))
	}
}

// mulHigh is the upper half of a product.
func mulHigh[T integerType](a, b T, width uint) T {
	if width < 64 {
		// Exact for either signedness: both factors have at most 32 bits, extended as their type says.
		p := uint64(a) * uint64(b)
		if none := T(0); none-1 < 0 { // T is signed
			return T(int64(p) >> width)
		}
		return T(p >> width)
	}
	hi, _ := bits.Mul64(uint64(a), uint64(b))
	if a < 0 {
		hi -= uint64(b)
	}
	if b < 0 {
		hi -= uint64(a)
	}
	return T(hi)
}

// extractField is bfe: c bits of a from position b, the rest filled with zeros, or with the field's sign.
func extractField(t typ) func(a, b, c, e uint64) uint64 {
	msb := int(t.size)*8 - 1
	return func(a, b, c, _ uint64) uint64 {
		pos, n := int(b&255), int(c&255)
		bit := func(i int) uint64 { return a >> uint(i) & 1 }
		sign := uint64(0)
		if t.kind == 's' && n > 0 {
			sign = bit(min(pos+n-1, msb))
		}
		var d uint64
		for i := 0; i <= msb; i++ {
			if i < n && pos+i <= msb {
				d |= bit(pos+i) << uint(i)
			} else {
				d |= sign << uint(i)
			}
		}
		return d
	}
}

// insertField is bfi: b with e of its bits from position c replaced by the low bits of a.
func insertField(width uint64) func(a, b, c, e uint64) uint64 {
	return func(a, b, c, e uint64) uint64 {
		pos, n := c&255, e&255
		mask := uint64(1)<<n - 1
		if pos >= width {
			return b
		}
		return b&^(mask<<pos) | (a&mask)<<pos
	}
}

// permute is prmt in its default mode.
func permute(a, b, c, _ uint64) uint64 {
	both := uint64(uint32(a)) | b<<32
	var d uint64
	for i := range uint64(4) {
		sel := c >> (4 * i) & 15
		v := both >> (8 * (sel & 7)) & 255
		if sel&8 != 0 { // the sign of the byte, all over it
			v = v >> 7 * 255
		}
		d |= v << (8 * i)
	}
	return d
}

// lop3 looks each bit up in a truth table.
func lop3(a, b, c, table uint64) uint64 {
	var d uint64
	for i := range 8 {
		if table>>i&1 != 0 {
			pick := func(v uint64, bit int) uint64 { return v ^ (uint64(bit&1) - 1) }
			d |= pick(a, i>>2) & pick(b, i>>1) & pick(c, i)
		}
	}
	return d
}

// funnel shifts the 64 bits b:a and takes the upper or lower half.
func funnel(left, wrap bool) func(a, b, c, e uint64) uint64 {
	return func(a, b, c, _ uint64) uint64 {
		n := uint64(uint32(c))
		if wrap {
			n &= 31
		}
		n = min(n, 32)
		both := uint64(uint32(a)) | b<<32
		if left {
			return both << n >> 32
		}
		return both >> n
	}
}

// packs join vectors into wider registers, by the sizes of part and whole.
var packs = map[[2]uint8]aluFunc{
	{4, 8}: raw(func(a, b, _, _ uint64) uint64 { return uint64(uint32(a)) | b<<32 }),
	{2, 4}: raw(func(a, b, _, _ uint64) uint64 { return a&0xffff | b<<16 }),
	{2, 8}: raw(func(a, b, c, e uint64) uint64 { return a&0xffff | b&0xffff<<16 | c&0xffff<<32 | e<<48 }),
}
