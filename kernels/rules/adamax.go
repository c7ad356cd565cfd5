package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed adamax.go
var adamaxSource string

// AdamaxRule is Adamax.
var AdamaxRule = define(Adamax[float32], Adamax[float64], AdamaxPrologue, adamaxSource)

// AdamaxElem is one element of a parameter under Adamax.
type AdamaxElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	U F `slot:"exp_inf"`
}

// AdamaxScalars are what Adamax's prologue computes.
type AdamaxScalars[F rule.Float] struct {
	Beta1, OneMinusBeta1, Beta2, StepSize, Eps, EpsOutside F
}

// AdamaxOptions is empty.
type AdamaxOptions struct{}

// Adamax: Kingma & Ba 2015, algorithm 2, in PyTorch's order, with its eps: added to |g| before the maximum. Keras adds it to the
// divisor. The scalar of the other place is 0.
func Adamax[F rule.Float](e *AdamaxElem[F], s *AdamaxScalars[F], o AdamaxOptions) {
	g := e.G
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*g))
	u := rule.FlushWith(rule.Max(F(s.Beta2*e.U), rule.Abs(g)+s.Eps), m)
	e.M, e.U = m, u
	e.P -= F(s.StepSize*m) / (u + s.EpsOutside)
}

// AdamaxHyper are Adamax's hyperparameters. Eps is PyTorch's, EpsOutside Keras'.
type AdamaxHyper struct{ LR, Beta1, Beta2, Eps, EpsOutside float64 }

// AdamaxCounters are what Adamax keeps for a group.
type AdamaxCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
}

// AdamaxPrologue computes the scalars of a step.
func AdamaxPrologue(h *AdamaxHyper, t *AdamaxCounters, s *AdamaxScalars[float64], o AdamaxOptions) {
	t.Step += 1
	t.Beta1Power *= h.Beta1
	s.Eps, s.EpsOutside = h.Eps, h.EpsOutside
	s.Beta1, s.OneMinusBeta1, s.Beta2 = h.Beta1, 1-h.Beta1, h.Beta2
	s.StepSize = h.LR / (1 - float64(t.Beta1Power))
}
