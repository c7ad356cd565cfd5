package kernels

import "github.com/fusestep/fusestep/kernels/rule"

// NormSum is what the norm is computed from.
type NormSum struct {
	Sum   float64 // of the squares of elements multiplied by Scale
	Scale float64
}

// NormOf is the norm, and what elements are to be multiplied by for the sum to be good: 1 where it is, or NaN.
type NormOf struct{ Scale, Norm float64 }

// NormFirst is the norm by the squares of the elements themselves.
func NormFirst(in *NormSum, out *NormOf) {
	out.Norm = rule.Sqrt(in.Sum)
	out.Scale = 1
	if in.Sum > 0x1.fffffffffffffp1023 {
		out.Scale = 0x1p-600
	}
	if in.Sum < 0x1p-900 {
		out.Scale = 0x1p600
	}
}

// NormScaled is the norm by the squares of scaled elements. A finite sum whose norm is beyond float64, such as that of four elements of
// 1.7e308, gives the largest float64.
func NormScaled(in *NormSum, out *NormOf) {
	out.Scale = in.Scale
	out.Norm = rule.Sqrt(in.Sum) / in.Scale
	if out.Norm > 0x1.fffffffffffffp1023 && in.Sum <= 0x1.fffffffffffffp1023 {
		out.Norm = 0x1.fffffffffffffp1023
	}
}
