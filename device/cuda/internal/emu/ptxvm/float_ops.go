package ptxvm

import "math"

// The NaN that arithmetic gives, whatever NaNs went in. For float64 PTX leaves the bits open; one choice keeps runs on
// different CPUs equal.
const (
	nan32 = 0x7fffffff
	nan64 = 0x7fffffffffffffff
)

func get32(x uint64) float32 { return math.Float32frombits(uint32(x)) }

func put32(f float32) uint64 {
	if f != f {
		return nan32
	}
	return uint64(math.Float32bits(f))
}

func get64(x uint64) float64 { return math.Float64frombits(x) }

func put64(f float64) uint64 {
	if f != f {
		return nan64
	}
	return math.Float64bits(f)
}

func init() {
	for _, rn := range []string{"", ".rn"} {
		def("add"+rn+".f32", same("f32", 2), add32)
		def("sub"+rn+".f32", same("f32", 2), sub32)
		def("mul"+rn+".f32", same("f32", 2), mul32)
		def("add"+rn+".f64", same("f64", 2), add64)
		def("sub"+rn+".f64", same("f64", 2), sub64)
		def("mul"+rn+".f64", same("f64", 2), mul64)
	}
	def("div.rn.f32", same("f32", 2), div32)
	def("div.rn.f64", same("f64", 2), div64)
	def("sqrt.rn.f32", same("f32", 1), sqrt32)
	def("sqrt.rn.f64", same("f64", 1), sqrt64)
	def("rcp.rn.f32", same("f32", 1), raw(func(a, _, _, _ uint64) uint64 { return put32(1 / get32(a)) }))
	def("rcp.rn.f64", same("f64", 1), raw(func(a, _, _, _ uint64) uint64 { return put64(1 / get64(a)) }))
	for _, name := range []string{"fma.rn", "mad.rn"} {
		def(name+".f32", same("f32", 3), raw(func(a, b, c, _ uint64) uint64 { return put32(fma32(get32(a), get32(b), get32(c))) }))
		def(name+".f64", same("f64", 3), raw(func(a, b, c, _ uint64) uint64 { return put64(math.FMA(get64(a), get64(b), get64(c))) }))
	}
	for t, sign := range map[string]uint64{"f32": 1 << 31, "f64": 1 << 63} {
		def("neg."+t, same(t, 1), func(d, a, _, _, _ *vreg) {
			for i := range d {
				d[i] = a[i] ^ sign
			}
		})
		def("abs."+t, same(t, 1), func(d, a, _, _, _ *vreg) {
			for i := range d {
				d[i] = a[i] &^ sign
			}
		})
		def("copysign."+t, same(t, 2), raw(func(a, b, _, _ uint64) uint64 { return b&^sign | a&sign }))
		def("slct."+t+".f32", t+" = "+t+" "+t+" f32", raw(selectBySign))
	}
	for _, t := range []string{"b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64"} {
		def("slct."+t+".f32", t+" = "+t+" "+t+" f32", raw(selectBySign))
	}
	for _, largest := range []bool{false, true} {
		name := map[bool]string{false: "min", true: "max"}[largest]
		for _, nan := range []string{"", ".NaN"} {
			f32, f64 := extremum(largest, nan != "")
			def(name+nan+".f32", same("f32", 2), raw(f32))
			if nan == "" {
				def(name+".f64", same("f64", 2), raw(f64))
			}
		}
	}
}

// The loops below leave NaNs as the CPU makes them; canonical32 replaces them behind the loop, since a branch in it costs
// more than all the rest. odd, the sum of r - r over all results r, is zero unless one of them was NaN or infinite. Two
// lanes a turn keep that sum from being the longest chain. The conversions of products keep r - r from being fused.
func canonical32(d *vreg, odd float32) {
	if odd != 0 {
		for i := range d {
			d[i] = put32(get32(d[i]))
		}
	}
}

func canonical64(d *vreg, odd float64) {
	if odd != 0 {
		for i := range d {
			d[i] = put64(get64(d[i]))
		}
	}
}

func add32(d, a, b, _, _ *vreg) {
	var odd0, odd1 float32
	for i := 0; i < warpSize; i += 2 {
		r, s := get32(a[i])+get32(b[i]), get32(a[i+1])+get32(b[i+1])
		d[i], d[i+1] = uint64(math.Float32bits(r)), uint64(math.Float32bits(s))
		odd0, odd1 = odd0+(r-r), odd1+(s-s)
	}
	canonical32(d, odd0+odd1)
}

func sub32(d, a, b, _, _ *vreg) {
	var odd0, odd1 float32
	for i := 0; i < warpSize; i += 2 {
		r, s := get32(a[i])-get32(b[i]), get32(a[i+1])-get32(b[i+1])
		d[i], d[i+1] = uint64(math.Float32bits(r)), uint64(math.Float32bits(s))
		odd0, odd1 = odd0+(r-r), odd1+(s-s)
	}
	canonical32(d, odd0+odd1)
}

func mul32(d, a, b, _, _ *vreg) {
	var odd0, odd1 float32
	for i := 0; i < warpSize; i += 2 {
		r, s := float32(get32(a[i])*get32(b[i])), float32(get32(a[i+1])*get32(b[i+1]))
		d[i], d[i+1] = uint64(math.Float32bits(r)), uint64(math.Float32bits(s))
		odd0, odd1 = odd0+(r-r), odd1+(s-s)
	}
	canonical32(d, odd0+odd1)
}

func div32(d, a, b, _, _ *vreg) {
	var odd0, odd1 float32
	for i := 0; i < warpSize; i += 2 {
		r, s := get32(a[i])/get32(b[i]), get32(a[i+1])/get32(b[i+1])
		d[i], d[i+1] = uint64(math.Float32bits(r)), uint64(math.Float32bits(s))
		odd0, odd1 = odd0+(r-r), odd1+(s-s)
	}
	canonical32(d, odd0+odd1)
}

func sqrt32(d, a, _, _, _ *vreg) {
	var odd0, odd1 float32
	for i := 0; i < warpSize; i += 2 {
		// The float64 root has more than twice the digits: rounding it again gives the right float32.
		r, s := float32(math.Sqrt(float64(get32(a[i])))), float32(math.Sqrt(float64(get32(a[i+1]))))
		d[i], d[i+1] = uint64(math.Float32bits(r)), uint64(math.Float32bits(s))
		odd0, odd1 = odd0+(r-r), odd1+(s-s)
	}
	canonical32(d, odd0+odd1)
}

func add64(d, a, b, _, _ *vreg) {
	var odd0, odd1 float64
	for i := 0; i < warpSize; i += 2 {
		r, s := get64(a[i])+get64(b[i]), get64(a[i+1])+get64(b[i+1])
		d[i], d[i+1] = math.Float64bits(r), math.Float64bits(s)
		odd0, odd1 = odd0+(r-r), odd1+(s-s)
	}
	canonical64(d, odd0+odd1)
}

func sub64(d, a, b, _, _ *vreg) {
	var odd0, odd1 float64
	for i := 0; i < warpSize; i += 2 {
		r, s := get64(a[i])-get64(b[i]), get64(a[i+1])-get64(b[i+1])
		d[i], d[i+1] = math.Float64bits(r), math.Float64bits(s)
		odd0, odd1 = odd0+(r-r), odd1+(s-s)
	}
	canonical64(d, odd0+odd1)
}

func mul64(d, a, b, _, _ *vreg) {
	var odd0, odd1 float64
	for i := 0; i < warpSize; i += 2 {
		r, s := float64(get64(a[i])*get64(b[i])), float64(get64(a[i+1])*get64(b[i+1]))
		d[i], d[i+1] = math.Float64bits(r), math.Float64bits(s)
		odd0, odd1 = odd0+(r-r), odd1+(s-s)
	}
	canonical64(d, odd0+odd1)
}

func div64(d, a, b, _, _ *vreg) {
	var odd0, odd1 float64
	for i := 0; i < warpSize; i += 2 {
		r, s := get64(a[i])/get64(b[i]), get64(a[i+1])/get64(b[i+1])
		d[i], d[i+1] = math.Float64bits(r), math.Float64bits(s)
		odd0, odd1 = odd0+(r-r), odd1+(s-s)
	}
	canonical64(d, odd0+odd1)
}

func sqrt64(d, a, _, _, _ *vreg) {
	var odd0, odd1 float64
	for i := 0; i < warpSize; i += 2 {
		r, s := math.Sqrt(get64(a[i])), math.Sqrt(get64(a[i+1]))
		d[i], d[i+1] = math.Float64bits(r), math.Float64bits(s)
		odd0, odd1 = odd0+(r-r), odd1+(s-s)
	}
	canonical64(d, odd0+odd1)
}

// fma32 rounds a*b+c once. The product is exact in float64; the sum is rounded to odd, which keeps what the rounding to
// float32 needs to know of the digits that were lost. Plain float32(a*b+c) in float64 would round twice.
func fma32(a, b, c float32) float32 {
	p, z := float64(float64(a)*float64(b)), float64(c)
	s := p + z
	// The exact error of the sum (Knuth's TwoSum); NaN where s is not finite.
	t := s - p
	e := float64(p-float64(s-t)) + float64(z-t)
	if bits := math.Float64bits(s); e != 0 && e == e && bits&1 == 0 {
		// Odd neighbours: away from zero if the error has the sign of the sum.
		if (e > 0) == (s > 0) {
			bits++
		} else {
			bits--
		}
		s = math.Float64frombits(bits)
	}
	return float32(s)
}

// extremum is min or max: a NaN loses against a number, unless it propagates, and -0 is less than +0.
func extremum(largest, propagate bool) (f32, f64 func(a, b, c, e uint64) uint64) {
	pick := func(x, y float64, a, b, nan uint64, negative bool) uint64 {
		switch {
		case x != x && y != y, propagate && (x != x || y != y):
			return nan
		case x != x:
			return b
		case y != y:
			return a
		case x == y:
			if negative == largest { // of two zeros a is the smaller and the larger is wanted, or the reverse
				return b
			}
			return a
		case (x < y) == largest:
			return b
		}
		return a
	}
	f32 = func(a, b, _, _ uint64) uint64 {
		return pick(float64(get32(a)), float64(get32(b)), a, b, nan32, a>>31&1 != 0)
	}
	f64 = func(a, b, _, _ uint64) uint64 { return pick(get64(a), get64(b), a, b, nan64, a>>63 != 0) }
	return f32, f64
}

// selectBySign is slct: a where c >= 0, which includes -0 and excludes NaN.
func selectBySign(a, b, c, _ uint64) uint64 {
	if get32(c) >= 0 {
		return a
	}
	return b
}
