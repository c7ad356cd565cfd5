package ptxvm

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"
	"testing"
)

// opTest compares one instruction with Go on the cross product of its operands' special values.
type opTest struct {
	mnemonic string
	types    string // "u32 = u32 u32"
	want     func(x []uint64) uint64
}

var intValues = []uint64{
	0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
	0xfffffffe, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0x0123456789abcdef,
}

var f32Values = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 1.5, -2.5, 0.5, 3, 1e-3, 255.5, 65504, 65520, -65536, 2147483647, 4294967040,
	4294967296, 9.3e18, -9.3e18, 1.9e19, 6e-8, 2.9e-8, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32,
	-math.SmallestNonzeroFloat32, 0x1p-126, 0x1.fffffcp-127, 1 + 0x1p-23, 16777217, float32(math.Inf(1)), float32(math.Inf(-1)),
	float32(math.NaN()),
}

var f64Values = []float64{
	0, math.Copysign(0, -1), 1, -1, 1.5, -2.5, 1 + 0x1p-24, 1 + 0x3p-25, -0x1.000001p0, 0x1p-149, 0x1p-150, 0x1.8p-150, 1e-320,
	1e39, -1e39, 2147483647.5, -2147483648.5, 4294967295.5, 9223372036854775807, -9223372036854775808, 18446744073709551615, 1e300,
	math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN(),
}

func valuesOf(t string) (list []uint64) {
	switch t {
	case "f32":
		for _, f := range f32Values {
			list = append(list, uint64(math.Float32bits(f)))
		}
		return append(list, 0xffc01234, 0x7f800001) // NaNs with payload, quiet and signalling
	case "f64":
		for _, f := range f64Values {
			list = append(list, math.Float64bits(f))
		}
		return append(list, 0xfff8000000001234)
	}
	return intValues
}

func typeBits(t string) uint { return uint(typesByName[t].size) * 8 }

// trim cuts a value to a type, extended with its sign if it has one.
func trim(t string, x uint64) uint64 {
	n := 64 - typeBits(t)
	if t[0] == 's' {
		return uint64(int64(x<<n) >> n)
	}
	return x << n >> n
}

func (o opTest) run(t *testing.T) {
	dst, rest, _ := strings.Cut(o.types, " = ")
	src := strings.Fields(rest)
	var rows [][]uint64
	rows = append(rows, nil)
	for i, ty := range src {
		values := valuesOf(ty)
		if i >= 2 && len(values) > 12 { // three operands: a sample of the cube
			values = append(values[:8:8], values[len(values)-4:]...)
		}
		var next [][]uint64
		for _, row := range rows {
			for _, v := range values {
				next = append(next, append(row[:len(row):len(row)], v))
			}
		}
		rows = next
	}
	// Registers of the type, or of 32 bits for 8-bit types, which have none.
	reg := func(ty string) string {
		if typesByName[ty].size == 1 {
			return ty[:1] + "32"
		}
		return ty
	}
	var decl, loads, names strings.Builder
	for i, ty := range src {
		fmt.Fprintf(&decl, ".reg .%s %%a%d;\n", reg(ty), i)
		fmt.Fprintf(&loads, "ld.global.%s %%a%d, [%%rd1+%d];\n", reg(ty), i, 8*i)
		if o.mnemonic != "lop3.b32" || i < 3 {
			fmt.Fprintf(&names, ", %%a%d", i)
		}
	}
	if o.mnemonic == "lop3.b32" {
		names.WriteString(", 0xE8")
	}
	text := header + `.visible .entry k(.param .u64 in, .param .u64 out, .param .u32 n) {
.reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<4>; .reg .` + reg(dst) + ` %res;
` + decl.String() + `
mov.u32 %r0, %tid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r0, %r1, %r2, %r0;
ld.param.u32 %r3, [n]; setp.ge.u32 %p, %r0, %r3; @%p ret;
ld.param.u64 %rd0, [in]; mad.wide.u32 %rd1, %r0, 32, %rd0;
ld.param.u64 %rd0, [out]; mad.wide.u32 %rd2, %r0, 8, %rd0;
` + loads.String() + o.mnemonic + " %res" + names.String() + `;
st.global.` + reg(dst) + ` [%rd2], %res;
}
`
	k := mustLoad(t, text).Kernel("k")
	mem := NewMemory(DefaultBase, DefaultSpace)
	in, _ := mem.Alloc(uint64(32 * len(rows)))
	out, _ := mem.Alloc(uint64(8 * len(rows)))
	b := make([]byte, 32*len(rows))
	for i, row := range rows {
		for j, v := range row {
			binary.LittleEndian.PutUint64(b[32*i+8*j:], v)
		}
	}
	if err := mem.Write(in, b); err != nil {
		t.Fatal(err)
	}
	err := k.Run(mem, Launch{
		Grid: [3]uint32{uint32(len(rows)+127) / 128, 1, 1}, Block: [3]uint32{128, 1, 1}, Checks: AllChecks,
		Params: [][]byte{param64(in), param64(out), param64(uint64(len(rows)))},
	})
	if err != nil {
		t.Fatal(err)
	}
	res := make([]byte, 8*len(rows))
	if err := mem.Read(out, res); err != nil {
		t.Fatal(err)
	}
	failures := 0
	for i, row := range rows {
		args := make([]uint64, len(row))
		for j, v := range row {
			args[j] = trim(src[j], v)
		}
		n := 64 - typeBits(reg(dst))
		got, want := binary.LittleEndian.Uint64(res[8*i:])<<n>>n, trim(dst, o.want(args))<<n>>n
		if got != want {
			t.Errorf("%s %#x: got %#x, want %#x", o.mnemonic, args, got, want)
			if failures++; failures > 5 {
				t.FailNow()
			}
		}
	}
}

func f32(x uint64) float32 { return math.Float32frombits(uint32(x)) }
func f64(x uint64) float64 { return math.Float64frombits(x) }

func b32of(f float32) uint64 {
	if f != f {
		return 0x7fffffff
	}
	return uint64(math.Float32bits(f))
}

func b64of(f float64) uint64 {
	if f != f {
		return 0x7fffffffffffffff
	}
	return math.Float64bits(f)
}

func TestFloat(t *testing.T) {
	neg := func(sign uint64) func(x []uint64) uint64 { return func(x []uint64) uint64 { return x[0] ^ sign } }
	tests := []opTest{
		{"add.rn.f32", "f32 = f32 f32", func(x []uint64) uint64 { return b32of(f32(x[0]) + f32(x[1])) }},
		{"add.f32", "f32 = f32 f32", func(x []uint64) uint64 { return b32of(f32(x[0]) + f32(x[1])) }},
		{"sub.rn.f32", "f32 = f32 f32", func(x []uint64) uint64 { return b32of(f32(x[0]) - f32(x[1])) }},
		{"mul.rn.f32", "f32 = f32 f32", func(x []uint64) uint64 { return b32of(f32(x[0]) * f32(x[1])) }},
		{"div.rn.f32", "f32 = f32 f32", func(x []uint64) uint64 { return b32of(f32(x[0]) / f32(x[1])) }},
		{"sqrt.rn.f32", "f32 = f32", func(x []uint64) uint64 { return b32of(bigSqrt32(f32(x[0]))) }},
		{"rcp.rn.f32", "f32 = f32", func(x []uint64) uint64 { return b32of(1 / f32(x[0])) }},
		{"fma.rn.f32", "f32 = f32 f32 f32", func(x []uint64) uint64 { return b32of(bigFMA32(f32(x[0]), f32(x[1]), f32(x[2]))) }},
		{"neg.f32", "f32 = f32", neg(1 << 31)},
		{"abs.f32", "f32 = f32", func(x []uint64) uint64 { return x[0] &^ (1 << 31) }},
		{"copysign.f32", "f32 = f32 f32", func(x []uint64) uint64 { return x[1]&^(1<<31) | x[0]&(1<<31) }},
		{"min.f32", "f32 = f32 f32", func(x []uint64) uint64 { return minMax32(x, false, math.Min) }},
		{"max.f32", "f32 = f32 f32", func(x []uint64) uint64 { return minMax32(x, false, math.Max) }},
		{"min.NaN.f32", "f32 = f32 f32", func(x []uint64) uint64 { return minMax32(x, true, math.Min) }},
		{"max.NaN.f32", "f32 = f32 f32", func(x []uint64) uint64 { return minMax32(x, true, math.Max) }},
		{"add.rn.f64", "f64 = f64 f64", func(x []uint64) uint64 { return b64of(f64(x[0]) + f64(x[1])) }},
		{"sub.rn.f64", "f64 = f64 f64", func(x []uint64) uint64 { return b64of(f64(x[0]) - f64(x[1])) }},
		{"mul.rn.f64", "f64 = f64 f64", func(x []uint64) uint64 { return b64of(f64(x[0]) * f64(x[1])) }},
		{"div.rn.f64", "f64 = f64 f64", func(x []uint64) uint64 { return b64of(f64(x[0]) / f64(x[1])) }},
		{"sqrt.rn.f64", "f64 = f64", func(x []uint64) uint64 { return b64of(math.Sqrt(f64(x[0]))) }},
		{"rcp.rn.f64", "f64 = f64", func(x []uint64) uint64 { return b64of(1 / f64(x[0])) }},
		{"fma.rn.f64", "f64 = f64 f64 f64", func(x []uint64) uint64 { return b64of(math.FMA(f64(x[0]), f64(x[1]), f64(x[2]))) }},
		{"neg.f64", "f64 = f64", neg(1 << 63)},
		{"abs.f64", "f64 = f64", func(x []uint64) uint64 { return x[0] &^ (1 << 63) }},
		{"copysign.f64", "f64 = f64 f64", func(x []uint64) uint64 { return x[1]&^(1<<63) | x[0]&(1<<63) }},
		{"min.f64", "f64 = f64 f64", func(x []uint64) uint64 { return minMax64(x, math.Min) }},
		{"max.f64", "f64 = f64 f64", func(x []uint64) uint64 { return minMax64(x, math.Max) }},
		{"slct.f32.f32", "f32 = f32 f32 f32", func(x []uint64) uint64 { return pick(f32(x[2]) >= 0, x[0], x[1]) }},
		{"slct.u32.s32", "u32 = u32 u32 s32", func(x []uint64) uint64 { return pick(int32(x[2]) >= 0, x[0], x[1]) }},
	}
	for _, o := range tests {
		t.Run(o.mnemonic, o.run)
	}
}

func pick(c bool, a, b uint64) uint64 {
	if c {
		return a
	}
	return b
}

// minMax32 has Go's math.Min and Max order the zeros, and PTX's rule for NaN.
func minMax32(x []uint64, propagate bool, f func(a, b float64) float64) uint64 {
	a, b := f32(x[0]), f32(x[1])
	switch {
	case a != a && b != b, propagate && (a != a || b != b):
		return 0x7fffffff
	case a != a:
		return x[1]
	case b != b:
		return x[0]
	}
	return b32of(float32(f(float64(a), float64(b))))
}

func minMax64(x []uint64, f func(a, b float64) float64) uint64 {
	a, b := f64(x[0]), f64(x[1])
	switch {
	case a != a && b != b:
		return 0x7fffffffffffffff
	case a != a:
		return x[1]
	case b != b:
		return x[0]
	}
	return b64of(f(a, b))
}

// bigFMA32 computes in arbitrary precision where the operands allow it.
func bigFMA32(a, b, c float32) float32 {
	special := func(f float32) bool { return f-f != 0 }
	if special(a) || special(b) || special(c) {
		return float32(float64(a)*float64(b) + float64(c))
	}
	exact := func(f float32) *big.Float { return new(big.Float).SetPrec(2000).SetFloat64(float64(f)) }
	sum := new(big.Float).SetPrec(2000).Mul(exact(a), exact(b))
	sum.Add(sum, exact(c))
	if sum.Sign() == 0 {
		return a*b + c // the signs of zero
	}
	f, _ := sum.Float32()
	return f
}

// bigSqrt32 rounds a root of 200 bits once.
func bigSqrt32(a float32) float32 {
	if !(a > 0) || math.IsInf(float64(a), 1) {
		return float32(math.Sqrt(float64(a)))
	}
	f, _ := new(big.Float).SetPrec(200).Sqrt(big.NewFloat(float64(a))).Float32()
	return f
}

func TestInteger(t *testing.T) {
	var tests []opTest
	add := func(mnemonic, types string, want func(x []uint64) uint64) {
		tests = append(tests, opTest{mnemonic, types, want})
	}
	for _, ty := range []string{"u16", "s16", "u32", "s32", "u64", "s64"} {
		n := typeBits(ty)
		signed := ty[0] == 's'
		wide := func(x uint64) *big.Int {
			if signed {
				return big.NewInt(int64(x))
			}
			return new(big.Int).SetUint64(x)
		}
		low := func(v *big.Int) uint64 {
			return new(big.Int).And(v, new(big.Int).SetUint64(^uint64(0))).Uint64()
		}
		two, three := ty+" = "+ty+" "+ty, ty+" = "+ty+" "+ty+" "+ty
		add("add."+ty, two, func(x []uint64) uint64 { return x[0] + x[1] })
		add("sub."+ty, two, func(x []uint64) uint64 { return x[0] - x[1] })
		add("mul.lo."+ty, two, func(x []uint64) uint64 { return x[0] * x[1] })
		add("mad.lo."+ty, three, func(x []uint64) uint64 { return x[0]*x[1] + x[2] })
		high := func(x []uint64) uint64 {
			p := new(big.Int).Mul(wide(x[0]), wide(x[1]))
			return low(p.Rsh(p, n))
		}
		add("mul.hi."+ty, two, high)
		add("mad.hi."+ty, three, func(x []uint64) uint64 { return high(x) + x[2] })
		add("div."+ty, two, func(x []uint64) uint64 {
			if x[1] == 0 {
				return ^uint64(0)
			}
			return low(new(big.Int).Quo(wide(x[0]), wide(x[1])))
		})
		add("rem."+ty, two, func(x []uint64) uint64 {
			if x[1] == 0 {
				return x[0]
			}
			return low(new(big.Int).Rem(wide(x[0]), wide(x[1])))
		})
		add("min."+ty, two, func(x []uint64) uint64 { return pick(wide(x[0]).Cmp(wide(x[1])) <= 0, x[0], x[1]) })
		add("max."+ty, two, func(x []uint64) uint64 { return pick(wide(x[0]).Cmp(wide(x[1])) >= 0, x[0], x[1]) })
		add("shr."+ty, ty+" = "+ty+" u32", func(x []uint64) uint64 { return low(new(big.Int).Rsh(wide(x[0]), uint(min(x[1], 200)))) })
		if signed {
			add("abs."+ty, ty+" = "+ty, func(x []uint64) uint64 { return low(new(big.Int).Abs(wide(x[0]))) })
			add("neg."+ty, ty+" = "+ty, func(x []uint64) uint64 { return -x[0] })
		}
		if n < 64 {
			double := ty[:1] + fmt.Sprint(2*n)
			add("mul.wide."+ty, double+" = "+ty+" "+ty, func(x []uint64) uint64 { return x[0] * x[1] })
			add("mad.wide."+ty, double+" = "+ty+" "+ty+" "+double, func(x []uint64) uint64 { return x[0]*x[1] + x[2] })
		}
	}
	for _, ty := range []string{"b16", "b32", "b64"} {
		one, two := ty+" = "+ty, ty+" = "+ty+" "+ty
		add("and."+ty, two, func(x []uint64) uint64 { return x[0] & x[1] })
		add("or."+ty, two, func(x []uint64) uint64 { return x[0] | x[1] })
		add("xor."+ty, two, func(x []uint64) uint64 { return x[0] ^ x[1] })
		add("not."+ty, one, func(x []uint64) uint64 { return ^x[0] })
		add("cnot."+ty, one, func(x []uint64) uint64 { return pick(x[0] == 0, 1, 0) })
		add("mov."+ty, one, func(x []uint64) uint64 { return x[0] })
		add("shl."+ty, ty+" = "+ty+" u32", func(x []uint64) uint64 { return x[0] << x[1] })
		add("shr."+ty, ty+" = "+ty+" u32", func(x []uint64) uint64 { return x[0] >> x[1] })
	}
	for i := range tests {
		t.Run(tests[i].mnemonic, tests[i].run)
	}
}

func TestBits(t *testing.T) {
	field := func(width int, signed bool) func(x []uint64) uint64 {
		return func(x []uint64) uint64 { // the definition in the PTX manual, bit by bit
			pos, n, msb := int(x[1]&255), int(x[2]&255), width-1
			sign := uint64(0)
			if signed && n > 0 {
				sign = x[0] >> min(pos+n-1, msb) & 1
			}
			d := uint64(0)
			for i := 0; i <= msb; i++ {
				b := sign
				if i < n && pos+i <= msb {
					b = x[0] >> (pos + i) & 1
				}
				d |= b << i
			}
			return d
		}
	}
	insert := func(width int) func(x []uint64) uint64 {
		return func(x []uint64) uint64 {
			d := x[1]
			for i := 0; i < int(x[3]&255) && int(x[2]&255)+i < width; i++ {
				at := int(x[2]&255) + i
				d = d&^(1<<at) | (x[0]>>i&1)<<at
			}
			return d
		}
	}
	tests := []opTest{
		{"popc.b32", "u32 = b32", func(x []uint64) uint64 { return uint64(bits.OnesCount32(uint32(x[0]))) }},
		{"popc.b64", "u32 = b64", func(x []uint64) uint64 { return uint64(bits.OnesCount64(x[0])) }},
		{"clz.b32", "u32 = b32", func(x []uint64) uint64 { return uint64(bits.LeadingZeros32(uint32(x[0]))) }},
		{"clz.b64", "u32 = b64", func(x []uint64) uint64 { return uint64(bits.LeadingZeros64(x[0])) }},
		{"brev.b32", "b32 = b32", func(x []uint64) uint64 { return uint64(bits.Reverse32(uint32(x[0]))) }},
		{"brev.b64", "b64 = b64", func(x []uint64) uint64 { return bits.Reverse64(x[0]) }},
		{"bfe.u32", "u32 = u32 u32 u32", field(32, false)},
		{"bfe.s32", "s32 = s32 u32 u32", field(32, true)},
		{"bfe.u64", "u64 = u64 u32 u32", field(64, false)},
		{"bfe.s64", "s64 = s64 u32 u32", field(64, true)},
		{"bfi.b32", "b32 = b32 b32 u32 u32", insert(32)},
		{"bfi.b64", "b64 = b64 b64 u32 u32", insert(64)},
		{"lop3.b32", "b32 = b32 b32 b32", func(x []uint64) uint64 { return x[0]&x[1] | x[0]&x[2] | x[1]&x[2] }}, // 0xE8: majority
		{"shf.l.wrap.b32", "b32 = b32 b32 u32", func(x []uint64) uint64 { return (x[1]<<32 | x[0]) << (x[2] & 31) >> 32 }},
		{"shf.r.wrap.b32", "b32 = b32 b32 u32", func(x []uint64) uint64 { return (x[1]<<32 | x[0]) >> (x[2] & 31) }},
		{"shf.l.clamp.b32", "b32 = b32 b32 u32", func(x []uint64) uint64 { return (x[1]<<32 | x[0]) << min(x[2], 32) >> 32 }},
		{"shf.r.clamp.b32", "b32 = b32 b32 u32", func(x []uint64) uint64 { return (x[1]<<32 | x[0]) >> min(x[2], 32) }},
		{"prmt.b32", "b32 = b32 b32 b32", func(x []uint64) uint64 {
			var d uint64
			for i := range 4 {
				sel := x[2] >> (4 * i) & 15
				by := uint8((x[1]<<32 | x[0]) >> (8 * (sel & 7)))
				if sel > 7 {
					by = uint8(int8(by) >> 7)
				}
				d |= uint64(by) << (8 * i)
			}
			return d
		}},
	}
	for _, o := range tests {
		t.Run(o.mnemonic, o.run)
	}
}

func TestConvert(t *testing.T) {
	var tests []opTest
	add := func(mnemonic, types string, want func(x []uint64) uint64) {
		tests = append(tests, opTest{mnemonic, types, want})
	}
	ints := []string{"u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"}
	for _, from := range ints {
		for _, to := range ints {
			add("cvt."+to+"."+from, to+" = "+from, func(x []uint64) uint64 { return x[0] })
		}
		exact := func(x uint64) *big.Float {
			if from[0] == 's' {
				return new(big.Float).SetInt64(int64(x))
			}
			return new(big.Float).SetUint64(x)
		}
		add("cvt.rn.f32."+from, "f32 = "+from, func(x []uint64) uint64 { f, _ := exact(x[0]).Float32(); return b32of(f) })
		add("cvt.rn.f64."+from, "f64 = "+from, func(x []uint64) uint64 { f, _ := exact(x[0]).Float64(); return b64of(f) })
	}
	rounds := map[string]func(float64) float64{"rni": math.RoundToEven, "rzi": math.Trunc, "rmi": math.Floor, "rpi": math.Ceil}
	for mode, round := range rounds {
		for _, to := range ints {
			for _, from := range []string{"f32", "f64"} {
				add("cvt."+mode+"."+to+"."+from, to+" = "+from, func(x []uint64) uint64 {
					f := f64(x[0])
					if from == "f32" {
						f = float64(f32(x[0]))
					}
					return clampToInt(round(f), to, from)
				})
			}
		}
		add("cvt."+mode+".f32.f32", "f32 = f32", func(x []uint64) uint64 { return b32of(float32(round(float64(f32(x[0]))))) })
		add("cvt."+mode+".f64.f64", "f64 = f64", func(x []uint64) uint64 { return b64of(round(f64(x[0]))) })
	}
	add("cvt.rn.f32.f64", "f32 = f64", func(x []uint64) uint64 { return b32of(float32(f64(x[0]))) })
	add("cvt.f64.f32", "f64 = f32", func(x []uint64) uint64 { return b64of(float64(f32(x[0]))) })
	add("cvt.rn.bf16.f32", "b16 = f32", func(x []uint64) uint64 { return nearest16(f32(x[0]), 8, 127) })
	add("cvt.rn.f16.f32", "b16 = f32", func(x []uint64) uint64 { return nearest16(f32(x[0]), 5, 15) })
	add("cvt.f32.bf16", "f32 = b16", func(x []uint64) uint64 { return b32of(f32(x[0] << 16)) })
	add("cvt.f32.f16", "f32 = b16", func(x []uint64) uint64 { return b32of(float32(value16(x[0], 5, 15))) })
	for i := range tests {
		t.Run(tests[i].mnemonic, tests[i].run)
	}
}

// TestHalves converts every float16, and what lies halfway between two and on either side of that.
func TestHalves(t *testing.T) {
	for h := range uint64(1 << 16) {
		x := float32(value16(h, 5, 15))
		if got := fromFloat16(uint16(h)); got != b32of(x) {
			t.Fatalf("float16 %#x is %#x, want %#x", h, got, b32of(x))
		}
		want := h
		if x != x {
			want = 0x7fff
		}
		if got := toFloat16(x); got != want {
			t.Fatalf("%v rounds to float16 %#x, want %#x", x, got, want)
		}
		if h&0x7fff >= 0x7bff { // the greatest, and what is no number
			continue
		}
		next := float32(value16(h+1, 5, 15))
		half := x + (next-x)/2 // exact
		for _, tt := range []struct {
			x    float32
			want uint64
		}{{math.Nextafter32(half, x), h}, {half, h + h&1}, {math.Nextafter32(half, next), h + 1}} {
			if got := toFloat16(tt.x); got != tt.want {
				t.Fatalf("%v rounds to float16 %#x, want %#x", tt.x, got, tt.want)
			}
		}
	}
}

func clampToInt(f float64, to, from string) uint64 {
	n := int(typeBits(to))
	if f != f {
		if from == "f64" || n == 64 {
			return 1 << (n - 1)
		}
		return 0
	}
	lo, hi := new(big.Int), new(big.Int).Lsh(big.NewInt(1), uint(n))
	if to[0] == 's' {
		hi.Rsh(hi, 1)
		lo.Neg(hi)
	}
	hi.Sub(hi, big.NewInt(1))
	v := lo
	if f > 0 {
		v = hi
	}
	if !math.IsInf(f, 0) {
		x, _ := big.NewFloat(f).Int(nil)
		if x.Cmp(lo) >= 0 && x.Cmp(hi) <= 0 {
			v = x
		}
	}
	return new(big.Int).And(v, new(big.Int).SetUint64(^uint64(0))).Uint64()
}

// value16 is the value of a 16-bit float with that many exponent bits.
func value16(x uint64, expBits, bias int) float64 {
	manBits := 15 - expBits
	man, exp := float64(x&(1<<manBits-1)), int(x>>manBits&(1<<expBits-1))
	v := math.Ldexp(man+float64(uint(1)<<manBits), exp-bias-manBits)
	switch {
	case exp == 0:
		v = math.Ldexp(man, 1-bias-manBits)
	case exp == 1<<expBits-1 && man != 0:
		return math.NaN()
	case exp == 1<<expBits-1:
		v = math.Inf(1)
	}
	if x&0x8000 != 0 {
		v = -v
	}
	return v
}

// nearest16 searches all finite values for the nearest, even on ties.
func nearest16(f float32, expBits, bias int) uint64 {
	if f != f {
		return 0x7fff
	}
	sign, a := uint64(math.Float32bits(f)>>16&0x8000), math.Abs(float64(f))
	inf := uint64(1<<expBits-1) << (15 - expBits)
	best, dist := uint64(0), math.Inf(1)
	for x := uint64(0); x <= inf; x++ {
		v := value16(x, expBits, bias)
		if x == inf { // rounds like the next finite value there would be
			v = math.Ldexp(1, 1<<expBits-1-bias)
		}
		if d := math.Abs(v - a); d < dist || d == dist && x&1 == 0 {
			best, dist = x, d
		}
	}
	if math.IsInf(a, 1) {
		best = inf
	}
	return sign | best
}
