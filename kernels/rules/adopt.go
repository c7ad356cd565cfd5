package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed adopt.go
var adoptSource string

// ADOPTRule is ADOPT.
var ADOPTRule = define(ADOPT[float32], ADOPT[float64], ADOPTPrologue, adoptSource)

// ADOPTElem is one element of a parameter under ADOPT.
type ADOPTElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	V F `slot:"exp_avg_sq"`
}

// ADOPTScalars are what ADOPT's prologue computes. First is 1 in the first step, and 0 after.
type ADOPTScalars[F rule.Float] struct {
	First, Decay, Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, LR, Limit, Eps F
}

// ADOPTOptions is empty.
type ADOPTOptions struct{}

// ADOPT: Taniguchi et al. 2024, algorithm 2, in the order of the authors' code. A gradient is divided by the root of the squares before it,
// and its quotient is clipped to ±Limit before it enters the momentum. The first step fills exp_avg_sq and changes nothing else. It
// does not decay the parameter either, so Decay is the rule's own and not the program's.
func ADOPT[F rule.Float](e *ADOPTElem[F], s *ADOPTScalars[F], o ADOPTOptions) {
	g := e.G
	if s.First != 0 {
		e.V = rule.FlushWith(F(g*g), g)
		return
	}
	n := g / rule.Max(rule.Sqrt(e.V), s.Eps)
	n = rule.Max(-s.Limit, rule.Min(n, s.Limit))
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*n))
	e.P = F(e.P*s.Decay) - F(s.LR*m)
	e.V = rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*g)*g), g)
	e.M = m
}

// ADOPTHyper are ADOPT's hyperparameters.
type ADOPTHyper struct{ LR, Beta1, Beta2, Eps, DecoupledDecay float64 }

// ADOPTCounters are what ADOPT keeps for a group.
type ADOPTCounters struct {
	Step float64 `counter:"step"`
}

// ADOPTPrologue computes the scalars of a step. The limit is the fourth root of the number of steps before this one.
func ADOPTPrologue(h *ADOPTHyper, t *ADOPTCounters, s *ADOPTScalars[float64], o ADOPTOptions) {
	s.First = 0
	if t.Step == 0 {
		s.First = 1
	}
	s.Limit = rule.Sqrt(rule.Sqrt(t.Step))
	t.Step += 1
	s.Decay = 1 - float64(h.LR*h.DecoupledDecay)
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.LR, s.Eps = h.LR, h.Eps
}
