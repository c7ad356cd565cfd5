package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed ademamix.go
var ademamixSource string

// AdEMAMixRule is AdEMAMix.
var AdEMAMixRule = define(AdEMAMix[float32], AdEMAMix[float64], AdEMAMixPrologue, ademamixSource)

// AdEMAMixElem is one element of a parameter under AdEMAMix.
type AdEMAMixElem[F rule.Float] struct {
	P    F `slot:"param"`
	G    F `slot:"grad"`
	Fast F `slot:"exp_avg_fast"`
	Slow F `slot:"exp_avg_slow"`
	V    F `slot:"exp_avg_sq"`
}

// AdEMAMixScalars are what AdEMAMix's prologue computes.
type AdEMAMixScalars[F rule.Float] struct {
	Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, Beta3, OneMinusBeta3, FastStep, SlowStep, InvSqrtBias2, Eps F
}

// AdEMAMixOptions is empty.
type AdEMAMixOptions struct{}

// AdEMAMix: Pagliardini et al. 2024, algorithm 1: AdamW with a second, slow average of the gradients, uncorrected. What the
// authors' code multiplies after the division, the learning rate, is part of both averages' scalars, as the bias correction and
// alpha are.
func AdEMAMix[F rule.Float](e *AdEMAMixElem[F], s *AdEMAMixScalars[F], o AdEMAMixOptions) {
	g := e.G
	fast := rule.Flush(F(s.Beta1*e.Fast) + F(s.OneMinusBeta1*g))
	slow := rule.Flush(F(s.Beta3*e.Slow) + F(s.OneMinusBeta3*g))
	v := rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*g)*g), rule.Abs(fast)+rule.Abs(slow))
	e.P -= (F(s.FastStep*fast) + F(s.SlowStep*slow)) / (F(rule.Sqrt(v)*s.InvSqrtBias2) + s.Eps)
	e.Fast, e.Slow, e.V = fast, slow, v
}

// AdEMAMixHyper are AdEMAMix's hyperparameters. Alpha and Beta3 are the last ones of their warm-ups, which are numbers of steps, 0
// for none. LogRatio is ln β1/ln β3, which only the warm-up of β3 needs.
type AdEMAMixHyper struct {
	LR, Beta1, Beta2, Beta3, Alpha, Eps, AlphaWarmup, Beta3Warmup, LogRatio float64
}

// AdEMAMixCounters are what AdEMAMix keeps for a group: the powers as running products, which every device computes alike.
type AdEMAMixCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// AdEMAMixPrologue computes the scalars of a step. While it warms up, alpha rises linearly from 0, and β3 from β1, such that the
// time in which the slow average halves rises linearly: the paper's exp(ln β1·ln β3/((1-w)·ln β3 + w·ln β1)), w being the share of
// the warm-up that is over, is β1^(1/((1-w) + w·ln β1/ln β3)).
func AdEMAMixPrologue(h *AdEMAMixHyper, t *AdEMAMixCounters, s *AdEMAMixScalars[float64], o AdEMAMixOptions) {
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	alpha, beta3 := h.Alpha, h.Beta3
	if t.Step < h.AlphaWarmup {
		alpha = t.Step / h.AlphaWarmup * h.Alpha
	}
	if t.Step < h.Beta3Warmup {
		w := t.Step / h.Beta3Warmup
		beta3 = rule.Min(rule.Pow(h.Beta1, 1/(1-w+float64(w*h.LogRatio))), h.Beta3)
	}
	s.Eps = h.Eps
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.Beta3, s.OneMinusBeta3 = beta3, 1-beta3
	s.FastStep = h.LR / (1 - float64(t.Beta1Power))
	s.SlowStep = h.LR * alpha
	s.InvSqrtBias2 = 1 / rule.Sqrt(1-float64(t.Beta2Power))
}
