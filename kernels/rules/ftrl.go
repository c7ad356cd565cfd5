package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed ftrl.go
var ftrlSource string

// FTRLRule is FTRL-Proximal.
var FTRLRule = define(FTRL[float32], FTRL[float64], FTRLPrologue, ftrlSource)

// FTRLElem is one element of a parameter under FTRL.
type FTRLElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	N F `slot:"accumulator" init:"InitialAccumulator"`
	Z F `slot:"linear"`
}

// FTRLScalars are what FTRL's prologue computes. L2 is what is added to √n/lr, the strength of the quadratic term.
type FTRLScalars[F rule.Float] struct{ LR, InvLR, L1, L2, Shrinkage F }

// FTRLOptions is empty: without a penalty its scalar is 0.
type FTRLOptions struct{}

// FTRL: McMahan et al. 2013, algorithm 1, with Keras' l2_shrinkage and its learning_rate_power fixed at the paper's -0.5, a
// root. Keras divides by the learning rate where this multiplies by its reciprocal. It divides by 0 where the accumulator
// starts at 0 and no gradient, or too small a one, has come, and at a learning rate of 0; here such an element is 0, as every
// weight is at first in the paper, and a step of learning rate 0 changes nothing. The accumulator only grows, and is
// flushed only where there is nothing to divide; linear is flushed as a parameter is.
func FTRL[F rule.Float](e *FTRLElem[F], s *FTRLScalars[F], o FTRLOptions) {
	if s.LR == 0 {
		return
	}
	p, g := e.P, e.G
	n := e.N + F(g*g)
	root := rule.Sqrt(n)
	sigma := F((root - rule.Sqrt(e.N)) * s.InvLR)
	z := rule.Flush(e.Z + (g + F(s.Shrinkage*p) - F(sigma*p)))
	n = rule.FlushWith(n, z)
	e.N, e.Z = n, z
	near := rule.Min(rule.Max(z, -s.L1), s.L1)
	strength := F(root*s.InvLR) + s.L2
	e.P = 0
	if strength != 0 {
		e.P = (near - z) / strength
	}
}

// FTRLHyper are FTRL's hyperparameters.
type FTRLHyper struct{ LR, InitialAccumulator, L1, L2, L2Shrinkage, Beta float64 }

// FTRLCounters are what FTRL keeps for a group.
type FTRLCounters struct {
	Step float64 `counter:"step"`
}

// FTRLPrologue computes the scalars of a step.
func FTRLPrologue(h *FTRLHyper, t *FTRLCounters, s *FTRLScalars[float64], o FTRLOptions) {
	t.Step += 1
	s.LR, s.InvLR, s.L1 = h.LR, 1/h.LR, h.L1
	s.L2 = float64(2*h.L2) + h.Beta/h.LR
	s.Shrinkage = 2 * h.L2Shrinkage
}
