// Package rule is what an optimizer's rule is written with, and the door by which a rule enters fusestep, a user's own as
// well as the ones in package kernels.
//
// A rule is two short Go functions. The element function says how one element changes:
//
//	func Momentum[F rule.Float](e *MomentumElem[F], s *MomentumScalars[F], o MomentumOptions) {
//		e.M = F(s.Mu*e.M) + e.G
//		e.P -= F(s.LR * e.M)
//	}
//
// and the prologue, once a step and group, in float64, computes the scalars from the hyperparameters and from state that it
// keeps from step to step. New ties them together and proves, on random bit patterns, that the source text means what
// the compiled functions do. Package syntax says what a rule may contain.
package rule

import (
	"math"
	"unsafe"
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

// Flush is x, or 0 where x is smaller than F's smallest normal number. A rule puts its moments through it: a moment that
// decays without new gradient would otherwise stay subnormal for ever, and arithmetic on subnormals is up to 20 times
// slower on CPUs.
func Flush[F Float](x F) F {
	if Abs(x) < SmallestNormal[F]() {
		return 0
	}
	return x
}
