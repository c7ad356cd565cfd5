package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed adam.go
var adamSource string

// AdamRule is Adam, and where its program decays the parameter AdamW.
var AdamRule = define(Adam[float32], Adam[float64], AdamPrologue, adamSource)

// AdamElem is one element of a parameter under Adam.
type AdamElem[F rule.Float] struct {
	P    F `slot:"param"`
	G    F `slot:"grad"`
	M    F `slot:"exp_avg"`
	V    F `slot:"exp_avg_sq"`
	VMax F `slot:"max_exp_avg_sq"`
}

// AdamScalars are what Adam's prologue computes.
type AdamScalars[F rule.Float] struct {
	Left, Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, StepSize, MaxScale, EpsRoot, InvSqrtBias2, Eps F
}

// AdamOptions says which terms Adam has.
type AdamOptions struct{ AMSGrad bool }

// Adam: Kingma & Ba 2015, algorithm 1, in PyTorch's order; AdamW: Loshchilov & Hutter 2019, algorithm 2; AMSGrad: Reddi et
// al. 2018, with the maximum over the uncorrected second moments, as PyTorch has it. Bias corrections are scalars:
// StepSize = lr/(1-β1^t), and the root's is a product with InvSqrtBias2 = 1/√(1-β2^t), so that each element divides once. Where
// other libraries differ, it is in scalars: in PyTorch's order EpsRoot is 0, MaxScale and Left are 1. Exp_avg_sq and its maximum are
// flushed only where exp_avg, which their root divides, is 0.
func Adam[F rule.Float](e *AdamElem[F], s *AdamScalars[F], o AdamOptions) {
	g := e.G
	p := F(e.P * s.Left)
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*g))
	v := rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*g)*g), m)
	d := v
	if o.AMSGrad {
		d = rule.FlushWith(rule.Max(e.VMax, F(v*s.MaxScale)), m)
		e.VMax = d
	}
	e.P = p - F(s.StepSize*(m/(F(rule.Sqrt(d+s.EpsRoot)*s.InvSqrtBias2)+s.Eps)))
	e.M, e.V = m, v
}

// AdamHyper are Adam's hyperparameters. PostDecay is a share that p loses after the step. EpsHat, CorrectedMax and NoBiasCorrection are off when 0: they change scalars alone, so that
// they are no options, each of which would double the variants.
type AdamHyper struct {
	LR, Beta1, Beta2, Eps, EpsRoot, PostDecay, EpsHat, CorrectedMax, NoBiasCorrection float64
}

// AdamCounters are what Adam keeps for a group: the powers as running products, which every device computes alike.
type AdamCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// AdamPrologue computes the scalars of a step.
func AdamPrologue(h *AdamHyper, t *AdamCounters, s *AdamScalars[float64], o AdamOptions) {
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	bias1, bias2 := 1-float64(t.Beta1Power), 1-float64(t.Beta2Power)
	if h.NoBiasCorrection != 0 {
		bias1, bias2 = 1, 1
	}
	s.Eps = h.Eps
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	// What is left of p after the step is a factor of both of its terms.
	s.Left = 1 - h.PostDecay
	lr := float64(s.Left * h.LR)
	s.StepSize = lr / bias1
	// √(v/bias2 + eps_root) is √(v + bias2·eps_root)·(1/√bias2).
	s.EpsRoot, s.InvSqrtBias2 = bias2*h.EpsRoot, 1/rule.Sqrt(bias2)
	if o.AMSGrad {
		s.MaxScale = 1
		if h.CorrectedMax != 0 {
			s.MaxScale, s.EpsRoot, s.InvSqrtBias2 = 1/bias2, h.EpsRoot, 1
		}
	}
	if h.EpsHat != 0 {
		s.StepSize, s.EpsRoot, s.InvSqrtBias2 = lr*rule.Sqrt(bias2)/bias1, h.EpsRoot, 1
	}
}
