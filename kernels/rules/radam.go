package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed radam.go
var radamSource string

// RAdamRule is RAdam.
var RAdamRule = define(RAdam[float32], RAdam[float64], RAdamPrologue, radamSource)

// RAdamElem is one element of a parameter under RAdam.
type RAdamElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	V F `slot:"exp_avg_sq"`
}

// RAdamScalars are what RAdam's prologue computes. Adaptive is 1 in steps that divide by the root, 0 in those before.
type RAdamScalars[F rule.Float] struct {
	Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, StepSize, Adaptive, Eps F
}

// RAdamOptions is empty.
type RAdamOptions struct{}

// RAdam: Liu et al. 2020, algorithm 2, as PyTorch has it: adaptive where the approximated simple moving average is longer than
// 5, not 4, and with an eps, added to the uncorrected root. What PyTorch multiplies by one after the other, both bias
// corrections, the rectification and the learning rate, is one scalar here. Optax adds eps to the corrected root, which is the
// uncorrected one with eps·√(1-β2^t).
func RAdam[F rule.Float](e *RAdamElem[F], s *RAdamScalars[F], o RAdamOptions) {
	g := e.G
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*g))
	v := rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*g)*g), m)
	e.M, e.V = m, v
	d := F(1)
	if s.Adaptive != 0 {
		d = rule.Sqrt(v) + s.Eps
	}
	e.P -= F(s.StepSize * (m / d))
}

// RAdamHyper are RAdam's hyperparameters. CorrectedEps is off when 0.
type RAdamHyper struct{ LR, Beta1, Beta2, Eps, CorrectedEps float64 }

// RAdamCounters are what RAdam keeps for a group: the powers as running products, which every device computes alike.
type RAdamCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// RAdamPrologue computes the scalars of a step. The length of the average is a small difference of large numbers: with β2 =
// 0.999 it loses 6 digits in the first adaptive steps, here as in PyTorch.
func RAdamPrologue(h *RAdamHyper, t *RAdamCounters, s *RAdamScalars[float64], o RAdamOptions) {
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	s.Eps = h.Eps
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	bias2 := 1 - float64(t.Beta2Power)
	if h.CorrectedEps != 0 {
		s.Eps = h.Eps * rule.Sqrt(bias2)
	}
	longest := 2/(1-h.Beta2) - 1
	length := longest - 2*t.Step*t.Beta2Power/bias2
	s.StepSize = h.LR / (1 - float64(t.Beta1Power))
	s.Adaptive = 0
	if length > 5 {
		s.Adaptive = 1
		rectify := (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
		s.StepSize = s.StepSize * rule.Sqrt(bias2) * rule.Sqrt(rectify)
	}
}
