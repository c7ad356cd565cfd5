package kerneltest

import (
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// adaptive are programs with rule.AdaptiveClip, of a type that is computed with: of tensors without rows, and with all that is around a rule of tensors
// with rows.
func adaptive(t device.DType) []kernels.Spec {
	s := kernels.Spec{Rule: rules.SGDRule().Rule, Around: rule.AdaptiveClip, Compute: t}
	all := s
	if all.Around |= everything; t == device.Float32 {
		all.Formats = "param=bf16+i16 grad=bf16 ema=f16/sr"
		return []kernels.Spec{s.WithMatrix(false), all.WithMatrix(true)}
	}
	return []kernels.Spec{all.WithMatrix(true)}
}
