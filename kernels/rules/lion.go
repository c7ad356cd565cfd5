package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed lion.go
var lionSource string

// LionRule is Lion.
var LionRule = define(Lion[float32], Lion[float64], LionPrologue, lionSource)

// LionElem is one element of a parameter under Lion.
type LionElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
}

// LionScalars are what Lion's prologue computes.
type LionScalars[F rule.Float] struct{ LR, Beta1, OneMinusBeta1, Beta2, OneMinusBeta2 F }

// LionOptions is empty.
type LionOptions struct{}

// Lion: Chen et al. 2023, algorithm 2, in the order of the authors' PyTorch code. The step is the
// sign of what β1 interpolates; the momentum that is kept is interpolated by β2, between the old one and the same gradient.
func Lion[F rule.Float](e *LionElem[F], s *LionScalars[F], o LionOptions) {
	e.P -= F(s.LR * rule.Sign(F(s.Beta1*e.M)+F(s.OneMinusBeta1*e.G)))
	e.M = rule.Flush(F(s.Beta2*e.M) + F(s.OneMinusBeta2*e.G))
}

// LionHyper are Lion's hyperparameters.
type LionHyper struct{ LR, Beta1, Beta2 float64 }

// LionCounters are what Lion keeps for a group.
type LionCounters struct {
	Step float64 `counter:"step"`
}

// LionPrologue computes the scalars of a step.
func LionPrologue(h *LionHyper, t *LionCounters, s *LionScalars[float64], o LionOptions) {
	t.Step += 1
	s.LR = h.LR
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
}
