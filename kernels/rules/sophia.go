package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed sophia.go
var sophiaSource string

// SophiaRule is Sophia.
var SophiaRule = define(Sophia[float32], Sophia[float64], SophiaPrologue, sophiaSource)

// SophiaElem is one element of a parameter under Sophia. H is only read: who estimates the Hessian writes it.
type SophiaElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	H F `slot:"hessian"`
}

// SophiaScalars are what Sophia's prologue computes.
type SophiaScalars[F rule.Float] struct {
	LR, Beta1, OneMinusBeta1, InvBias1, Gamma, Eps, Clip F
}

// SophiaOptions is empty: without correction InvBias1, and without clipping Clip is infinite.
type SophiaOptions struct{}

// Sophia: Liu et al. 2023, algorithm 3, but for its average of the Hessian's estimates, which is not a step's. Optax corrects
// the bias of the momentum, as the authors' code for one of their two estimators does, and the paper does not; it divides by
// 1-β1^t where this multiplies by the reciprocal, and decays last.
func Sophia[F rule.Float](e *SophiaElem[F], s *SophiaScalars[F], o SophiaOptions) {
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*e.G))
	e.M = m
	step := F(m*s.InvBias1) / rule.Max(F(s.Gamma*e.H), s.Eps)
	e.P -= F(s.LR * rule.Min(rule.Max(step, -s.Clip), s.Clip))
}

// SophiaHyper are Sophia's hyperparameters. BiasBeta1 is β1, or 0 where the average is not corrected.
type SophiaHyper struct{ LR, Beta1, BiasBeta1, Gamma, Eps, Clip float64 }

// SophiaCounters are what Sophia keeps for a group: the power as a running product, which every device computes alike.
type SophiaCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
}

// SophiaPrologue computes the scalars of a step.
func SophiaPrologue(h *SophiaHyper, t *SophiaCounters, s *SophiaScalars[float64], o SophiaOptions) {
	t.Step += 1
	t.Beta1Power *= h.BiasBeta1
	s.LR, s.Gamma, s.Eps, s.Clip = h.LR, h.Gamma, h.Eps, h.Clip
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.InvBias1 = 1 / (1 - float64(t.Beta1Power))
}
