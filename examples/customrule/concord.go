package main

import (
	_ "embed"
	"sync"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed concord.go
var concordSource string

// concordRule is the rule, made when it is first asked for: New compiles the source and compares it with the functions.
var concordRule = sync.OnceValues(func() (rule.Definition[ConcordHyper, ConcordOptions], error) {
	return rule.New(Concord[float32], Concord[float64], ConcordPrologue, concordSource)
})

// ConcordElem is one element of a parameter: what the rule reads and writes.
type ConcordElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"momentum"`
}

// ConcordScalars are the numbers that are the same for all elements in a step.
type ConcordScalars[F rule.Float] struct{ Beta, OneMinusBeta, InvBias, Limit, Doubt, Keep, LR F }

// ConcordOptions says which terms the rule has. A kernel is made for each choice.
type ConcordOptions struct{ Decay bool }

// Concord goes along the running mean of the gradients, by no more than Limit, and by a part of that, Doubt, where the newest
// gradient points the other way than the mean does.
func Concord[F rule.Float](e *ConcordElem[F], s *ConcordScalars[F], o ConcordOptions) {
	m := rule.Flush(F(s.Beta*e.M) + F(s.OneMinusBeta*e.G))
	step := clamp(F(m*s.InvBias), s.Limit)
	if m > 0 && e.G < 0 || m < 0 && e.G > 0 {
		step = F(step * s.Doubt)
	}
	p := e.P
	if o.Decay {
		p = F(p * s.Keep)
	}
	e.P, e.M = p-F(s.LR*step), m
}

// clamp is x between -limit and limit. Functions of the same file are inlined.
func clamp[F rule.Float](x, limit F) F { return rule.Max(-limit, rule.Min(x, limit)) }

// ConcordHyper are the numbers that the user sets.
type ConcordHyper struct{ LR, Beta, Limit, Doubt, WeightDecay float64 }

// ConcordCounters are what the prologue keeps from step to step.
type ConcordCounters struct {
	BetaPower float64 `counter:"beta_power" init:"1"`
}

// ConcordPrologue runs once a step, in float64. The mean starts at 0, and InvBias makes up for that, as in Adam.
func ConcordPrologue(h *ConcordHyper, t *ConcordCounters, s *ConcordScalars[float64], o ConcordOptions) {
	t.BetaPower *= h.Beta
	s.Beta, s.OneMinusBeta = h.Beta, 1-h.Beta
	s.InvBias = 1 / (1 - float64(t.BetaPower))
	s.Limit, s.Doubt, s.LR = h.Limit, h.Doubt, h.LR
	s.Keep = 1 - float64(h.LR*h.WeightDecay)
}
