package ptxvm

import "math"

// cmpFunc compares the lanes of two registers; bit i of the result is lane i's.
type cmpFunc func(a, b *vreg) uint32

// comparisons holds setp's operators under operator and type, "lt.f32", and testp's under their mnemonics.
var comparisons = map[string]cmpFunc{}

func init() {
	defCompare("u16", eqInt[uint16], ltInt[uint16], leInt[uint16])
	defCompare("s16", eqInt[int16], ltInt[int16], leInt[int16])
	defCompare("u32", eqInt[uint32], ltInt[uint32], leInt[uint32])
	defCompare("s32", eqInt[int32], ltInt[int32], leInt[int32])
	defCompare("u64", eqInt[uint64], ltInt[uint64], leInt[uint64])
	defCompare("s64", eqInt[int64], ltInt[int64], leInt[int64])
	for _, t := range []string{"16", "32", "64"} {
		comparisons["eq.b"+t], comparisons["ne.b"+t] = comparisons["eq.u"+t], comparisons["ne.u"+t]
		for name, unsigned := range map[string]string{"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"} {
			comparisons[name+".u"+t] = comparisons[unsigned+".u"+t]
		}
	}
	defCompare("f32", eq32, lt32, le32)
	defCompare("f64", eq64, lt64, le64)
	defUnordered("f32", eq32)
	defUnordered("f64", eq64)
	defTest("f32", func(x uint64) float64 { return float64(get32(x)) }, 0x1p-126)
	defTest("f64", get64, 0x1p-1022)
}

func complement(f cmpFunc) cmpFunc { return func(a, b *vreg) uint32 { return ^f(a, b) } }

func reverse(f cmpFunc) cmpFunc { return func(a, b *vreg) uint32 { return f(b, a) } }

func defCompare(t string, eq, lt, le cmpFunc) {
	comparisons["eq."+t], comparisons["lt."+t], comparisons["le."+t] = eq, lt, le
	comparisons["ne."+t], comparisons["gt."+t], comparisons["ge."+t] = complement(eq), reverse(lt), reverse(le)
}

// defUnordered adds the comparisons that NaN satisfies: true where the opposite one is false.
func defUnordered(t string, eq cmpFunc) {
	for name, opposite := range map[string]string{"equ": "ne", "neu": "eq", "ltu": "ge", "leu": "gt", "gtu": "le", "geu": "lt"} {
		comparisons[name+"."+t] = complement(comparisons[opposite+"."+t])
	}
	num := func(a, b *vreg) uint32 { return eq(a, a) & eq(b, b) } // only a NaN differs from itself
	comparisons["num."+t], comparisons["nan."+t] = num, complement(num)
	comparisons["ne."+t] = func(a, b *vreg) uint32 { return ^eq(a, b) & num(a, b) }
	comparisons["equ."+t] = func(a, b *vreg) uint32 { return eq(a, b) | ^num(a, b) }
}

func defTest(t string, get func(uint64) float64, smallest float64) {
	for name, test := range map[string]func(x float64) bool{
		"finite":     func(x float64) bool { return x-x == 0 },
		"infinite":   func(x float64) bool { return math.IsInf(x, 0) },
		"number":     func(x float64) bool { return x == x },
		"notanumber": func(x float64) bool { return x != x },
		"normal":     func(x float64) bool { return x-x == 0 && math.Abs(x) >= smallest },
		"subnormal":  func(x float64) bool { return x != 0 && math.Abs(x) < smallest },
	} {
		comparisons["testp."+name+"."+t] = func(a, _ *vreg) (m uint32) {
			for i := range a {
				m = m>>1 | topBit(test(get(a[i])))
			}
			return m
		}
	}
}

// topBit is where a loop over lanes puts each result, to shift it down: 32 steps later it is in its place.
func topBit(holds bool) uint32 {
	b := uint32(0)
	if holds {
		b = 1 // the compiler makes this a flag, not a branch
	}
	return b << 31
}

func eqInt[T integerType](a, b *vreg) (m uint32) {
	for i := range a {
		m = m>>1 | topBit(T(a[i]) == T(b[i]))
	}
	return m
}

func ltInt[T integerType](a, b *vreg) (m uint32) {
	for i := range a {
		m = m>>1 | topBit(T(a[i]) < T(b[i]))
	}
	return m
}

func leInt[T integerType](a, b *vreg) (m uint32) {
	for i := range a {
		m = m>>1 | topBit(T(a[i]) <= T(b[i]))
	}
	return m
}

func eq32(a, b *vreg) (m uint32) {
	for i := range a {
		m = m>>1 | topBit(get32(a[i]) == get32(b[i]))
	}
	return m
}

func lt32(a, b *vreg) (m uint32) {
	for i := range a {
		m = m>>1 | topBit(get32(a[i]) < get32(b[i]))
	}
	return m
}

func le32(a, b *vreg) (m uint32) {
	for i := range a {
		m = m>>1 | topBit(get32(a[i]) <= get32(b[i]))
	}
	return m
}

func eq64(a, b *vreg) (m uint32) {
	for i := range a {
		m = m>>1 | topBit(get64(a[i]) == get64(b[i]))
	}
	return m
}

func lt64(a, b *vreg) (m uint32) {
	for i := range a {
		m = m>>1 | topBit(get64(a[i]) < get64(b[i]))
	}
	return m
}

func le64(a, b *vreg) (m uint32) {
	for i := range a {
		m = m>>1 | topBit(get64(a[i]) <= get64(b[i]))
	}
	return m
}
