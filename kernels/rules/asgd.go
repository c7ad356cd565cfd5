package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed asgd.go
var asgdSource string

// ASGDRule is averaged stochastic gradient descent.
var ASGDRule = define(ASGD[float32], ASGD[float64], ASGDPrologue, asgdSource)

// ASGDElem is one element of a parameter under ASGD.
type ASGDElem[F rule.Float] struct {
	P  F `slot:"param"`
	G  F `slot:"grad"`
	AX F `slot:"ax"`
}

// ASGDScalars are what ASGD's prologue computes. Shrink is 1 - lambd·eta, which no learning rate of now multiplies.
type ASGDScalars[F rule.Float] struct{ Shrink, Eta, Mu F }

// ASGDOptions is empty.
type ASGDOptions struct{}

// ASGD: Polyak & Juditsky 1992, with Bottou's learning rates, in PyTorch's order: gradient descent that keeps the average of its
// parameters beside them. Ax is flushed as a parameter is.
func ASGD[F rule.Float](e *ASGDElem[F], s *ASGDScalars[F], o ASGDOptions) {
	p := F(e.P*s.Shrink) - F(s.Eta*e.G)
	ax := p
	if s.Mu != 1 {
		ax = e.AX + F((p-e.AX)*s.Mu)
	}
	e.P, e.AX = p, rule.Flush(ax)
}

// ASGDHyper are ASGD's hyperparameters.
type ASGDHyper struct{ LR, Lambd, Alpha, T0 float64 }

// ASGDCounters are what ASGD keeps for a group: the learning rate and the average's weight of the next step.
type ASGDCounters struct {
	Step float64 `counter:"step"`
	Eta  float64 `counter:"eta"`
	Mu   float64 `counter:"mu" init:"1"`
}

// ASGDPrologue computes the scalars of a step. As in PyTorch a step uses the eta that the step before has made of its learning
// rate, so that a schedule is seen one step late, and the first two steps have the first one's.
func ASGDPrologue(h *ASGDHyper, t *ASGDCounters, s *ASGDScalars[float64], o ASGDOptions) {
	if t.Step == 0 {
		t.Eta = h.LR
	}
	t.Step += 1
	s.Shrink = 1 - float64(h.Lambd*t.Eta)
	s.Eta, s.Mu = t.Eta, t.Mu
	t.Eta = h.LR / rule.Pow(1+float64(h.Lambd*h.LR*t.Step), h.Alpha)
	t.Mu = 1 / rule.Max(1, t.Step-h.T0)
}
