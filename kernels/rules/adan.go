package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed adan.go
var adanSource string

// AdanRule is Adan.
var AdanRule = define(Adan[float32], Adan[float64], AdanPrologue, adanSource)

// AdanElem is one element of a parameter under Adan.
type AdanElem[F rule.Float] struct {
	P       F `slot:"param"`
	G       F `slot:"grad"`
	M       F `slot:"exp_avg"`
	Diff    F `slot:"exp_avg_diff"`
	V       F `slot:"exp_avg_sq"`
	NegPrev F `slot:"neg_pre_grad"`
}

// AdanScalars are what Adan's prologue computes. First is 1 in the first step, which has no gradient before it, and 0 after.
type AdanScalars[F rule.Float] struct {
	Shrink, Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, Beta3, OneMinusBeta3, StepSize, DiffStep, InvSqrtBias3, Eps, First F
}

// AdanOptions is empty: without the proximal decay Shrink is 1.
type AdanOptions struct{}

// Adan: Xie et al. 2022, algorithm 1, in the order of the authors' code, whose betas are 1 - the paper's, with bias
// corrections. They divide the average's share and that of the differences' average by the same denominator; here their sum is
// divided, once, and the proximal decay is a product with Shrink = 1/(1 + lr·weight_decay). Neg_pre_grad is a gradient:
// it is 0 where that is, and is not flushed.
func Adan[F rule.Float](e *AdanElem[F], s *AdanScalars[F], o AdanOptions) {
	g, prev := e.G, e.NegPrev
	if s.First != 0 {
		prev = -g
	}
	diff := g + prev
	ahead := g + F(s.Beta2*diff)
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*g))
	d := rule.Flush(F(s.Beta2*e.Diff) + F(s.OneMinusBeta2*diff))
	v := rule.FlushWith(F(s.Beta3*e.V)+F(F(s.OneMinusBeta3*ahead)*ahead), rule.Abs(m)+rule.Abs(d))
	step := (F(s.StepSize*m) + F(s.DiffStep*d)) / (F(rule.Sqrt(v)*s.InvSqrtBias3) + s.Eps)
	e.P = (e.P - step) * s.Shrink
	e.M, e.Diff, e.V, e.NegPrev = m, d, v, -g
}

// AdanHyper are Adan's hyperparameters. ProximalDecay divides the parameter after the step.
type AdanHyper struct{ LR, Beta1, Beta2, Beta3, Eps, ProximalDecay float64 }

// AdanCounters are what Adan keeps for a group: the powers as running products, which every device computes alike.
type AdanCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
	Beta3Power float64 `counter:"beta3_power" init:"1"`
}

// AdanPrologue computes the scalars of a step.
func AdanPrologue(h *AdanHyper, t *AdanCounters, s *AdanScalars[float64], o AdanOptions) {
	s.First = 0
	if t.Step == 0 {
		s.First = 1
	}
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	t.Beta3Power *= h.Beta3
	s.Eps = h.Eps
	s.Shrink = 1 / (1 + float64(h.LR*h.ProximalDecay))
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.Beta3, s.OneMinusBeta3 = h.Beta3, 1-h.Beta3
	s.StepSize = h.LR / (1 - float64(t.Beta1Power))
	s.DiffStep = h.LR * h.Beta2 / (1 - float64(t.Beta2Power))
	s.InvSqrtBias3 = 1 / rule.Sqrt(1-float64(t.Beta3Power))
}
