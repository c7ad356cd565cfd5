package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed signum.go
var signumSource string

// SignumRule is Signum, and without momentum signSGD.
var SignumRule = define(Signum[float32], Signum[float64], SignumPrologue, signumSource)

// SignumElem is one element of a parameter under Signum.
type SignumElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
}

// SignumScalars are what Signum's prologue computes.
type SignumScalars[F rule.Float] struct{ LR, Beta, OneMinusBeta F }

// SignumOptions says which terms Signum has.
type SignumOptions struct{ Momentum bool }

// Signum: Bernstein et al. 2018, algorithm 2; signSGD, algorithm 1, has no momentum and takes the gradient's sign.
func Signum[F rule.Float](e *SignumElem[F], s *SignumScalars[F], o SignumOptions) {
	m := e.G
	if o.Momentum {
		m = rule.Flush(F(s.Beta*e.M) + F(s.OneMinusBeta*e.G))
		e.M = m
	}
	e.P -= F(s.LR * rule.Sign(m))
}

// SignumHyper are Signum's hyperparameters.
type SignumHyper struct{ LR, Beta float64 }

// SignumCounters are what Signum keeps for a group.
type SignumCounters struct {
	Step float64 `counter:"step"`
}

// SignumPrologue computes the scalars of a step.
func SignumPrologue(h *SignumHyper, t *SignumCounters, s *SignumScalars[float64], o SignumOptions) {
	t.Step += 1
	s.LR = h.LR
	s.Beta, s.OneMinusBeta = h.Beta, 1-h.Beta
}
