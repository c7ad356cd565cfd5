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

// NormFirstOfTensors is NormFirst where tensors have norms of their own: beside one whose sum is NaN there may be one whose squares overflow.
func NormFirstOfTensors(in *NormSum, out *NormOf) {
	out.Norm = rule.Sqrt(in.Sum)
	out.Scale = 0x1p-600
	if in.Sum <= 0x1.fffffffffffffp1023 {
		out.Scale = 1
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

// TensorSums are the words of Tensor.Sums, of the tensor's gradient.
type TensorSums struct {
	Sum    float64 // of the squares of elements
	Scaled float64 // of those multiplied by 2⁻⁶⁰⁰, where Sum is +Inf. Only float64 has that of finite elements; of other types it stays 0
}

// TensorNormOf is the norm of a tensor's gradient as it is in memory.
type TensorNormOf struct{ Norm float64 }

// TensorNorm computes it. Below 2⁻⁴⁵⁰ it may be too small, down to 0, as squares lose bits: who clips adds 1e-6, beside which that is nothing.
func TensorNorm(in *TensorSums, out *TensorNormOf) {
	out.Norm = rule.Sqrt(in.Sum)
	if in.Sum > 0x1.fffffffffffffp1023 && in.Scaled > 0 && in.Scaled <= 0x1.fffffffffffffp1023 {
		out.Norm = rule.Min(rule.Sqrt(in.Scaled)*0x1p600, 0x1.fffffffffffffp1023)
	}
}
