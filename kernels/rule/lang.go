package rule

import (
	"math"
	"unsafe"

	"github.com/fusestep/fusestep/kernels/ir"
)

// Float is the number type of a rule.
type Float interface{ float32 | float64 }

// Sqrt is the correctly rounded square root.
func Sqrt[F Float](x F) F { return F(math.Sqrt(float64(x))) }

// Abs is x with its sign cleared.
func Abs[F Float](x F) F { return F(math.Abs(float64(x))) }

// SmallestNormal is the smallest positive number of F with full precision: 2⁻¹²⁶ or 2⁻¹⁰²².
func SmallestNormal[F Float]() F {
	if unsafe.Sizeof(F(0)) == 4 {
		return 0x1p-126
	}
	tiny := 0x1p-1022
	return F(tiny)
}

// Max is the larger of a and b; NaN if either is, so that none is hidden. Of equals, such as -0 and +0, it is b.
func Max[F Float](a, b F) F {
	if a > b || a != a {
		return a
	}
	return b
}

// Min is the smaller of a and b; NaN if either is. Of equals it is b.
func Min[F Float](a, b F) F {
	if a < b || a != a {
		return a
	}
	return b
}

// Clip is x brought between -most and most; NaN if x is.
func Clip[F Float](x, most F) F {
	if x > most {
		return most
	}
	if x < -most {
		return -most
	}
	return x
}

// Sign is 1 or -1 with the sign of x, 0 of ±0, NaN of NaN.
func Sign[F Float](x F) F {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	case x == 0:
		return 0
	}
	return x
}

// Flush is x, or 0 where x is smaller than F's smallest normal number. A rule puts through it what it adds to the parameter, such as
// a first moment, and what is like a parameter: what decays without new gradient would otherwise stay subnormal for ever, and
// arithmetic on subnormals is up to 70 times slower on CPUs. What divides goes through FlushWith.
func Flush[F Float](x F) F {
	if Abs(x) < SmallestNormal[F]() {
		return 0
	}
	return x
}

// FlushWith is Flush where with is 0, and x elsewhere. A rule puts a second moment through it, with what the second moment's root
// divides: while there is something to divide, a 0 in place of a small divisor would leave eps alone to divide it. Where two
// numbers are divided, with is the sum of their Abs.
func FlushWith[F Float](x, with F) F {
	if with == 0 && Abs(x) < SmallestNormal[F]() {
		return 0
	}
	return x
}

// FromBits is the number whose bits as a float32 are w, exactly. It and the next four are for formats.
func FromBits[F Float](w uint32) F { return F(math.Float32frombits(w)) }

// ToBits is the bits of x.
func ToBits(x float32) uint32 { return math.Float32bits(x) }

// FromHalf is the number whose bits as an IEEE 754 binary16 are the low 16 of w, exactly.
func FromHalf[F Float](w uint32) F { return F(ir.FromFloat16(uint16(w))) }

// ToHalf is the bits of x rounded to binary16, to nearest even.
func ToHalf(x float32) uint32 { return uint32(ir.ToFloat16(x)) }

// MulHigh is the upper 32 bits of the product of a and b.
func MulHigh(a, b uint32) uint32 { return uint32(uint64(a) * uint64(b) >> 32) }

// Pow is x to the power of y, in a prologue. Written here, it has the same bits everywhere: x to the binary digits of y, by
// squares and by square roots, down to 2⁻¹⁶, and the binomial series for what is left of y. So Pow(x, 0) is 1, Pow(x, 1) is
// x, Pow(x, 2) is x*x and Pow(x, 0.5) is Sqrt(x), to the last bit.
//
// X is at least 0 and finite; 0 to a power between 0 and 2⁻¹⁶ is not 0. Y is above -16 and below 16, beyond which the result is
// NaN. It is within 8e-15 of the true one, relatively, where x and x to the power of |y| are normal numbers: in units of 2⁻⁵³ a
// root errs by less than 2, the squares by 11 in all, 20 products by 20, the series by 6 and its root by 2, the reciprocal by
// 1. The largest error measured is 2.9e-15. It is 160 operations, 16 of them roots that wait for each other.
func Pow(x, y float64) float64 {
	p, a := 1.0, Abs(y)
	if a >= 16 {
		p = Sqrt(-a)
	}
	x2 := x * x
	x4 := x2 * x2
	p, a = powDigit(p, a, x4*x4, 8)
	p, a = powDigit(p, a, x4, 4)
	p, a = powDigit(p, a, x2, 2)
	p, a = powDigit(p, a, x, 1)
	p, a, x = powRoots(p, a, x)
	p, a, x = powRoots(p, a, x)
	p, a, x = powRoots(p, a, x)
	p, a, x = powRoots(p, a, x)
	// (1+d)^a = 1 + a·d·(1 + (a-1)/2·d·(1 + (a-2)/3·d·(1 + …))). With |d| at most 0.0114 six terms leave 5·2⁻⁵³.
	d := x - 1
	s := 1 + float64((a-5)*(1./6)*d)
	s = 1 + float64((a-4)*(1./5)*d*s)
	s = 1 + float64((a-3)*(1./4)*d*s)
	s = 1 + float64((a-2)*(1./3)*d*s)
	s = 1 + float64((a-1)*(1./2)*d*s)
	p = float64(p * (1 + float64(a*d*s)))
	if y < 0 {
		return 1 / p
	}
	return p
}

// powDigit multiplies p by power, which is x to the power of digit, if a, what is left of the exponent, has this digit.
func powDigit(p, a, power, digit float64) (float64, float64) {
	if a >= digit {
		return p * power, a - digit
	}
	return p, a
}

// powRoots is powDigit for the next four digits of an a below 1. Then x to the power of a is still to do, for the new x and a.
func powRoots(p, a, x float64) (float64, float64, float64) {
	x = Sqrt(x)
	p, a = powDigit(p, a, x, 1./2)
	x = Sqrt(x)
	p, a = powDigit(p, a, x, 1./4)
	x = Sqrt(x)
	p, a = powDigit(p, a, x, 1./8)
	x = Sqrt(x)
	p, a = powDigit(p, a, x, 1./16)
	return p, float64(16 * a), x
}
