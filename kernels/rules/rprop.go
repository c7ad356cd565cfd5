package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed rprop.go
var rpropSource string

// RpropRule is Rprop.
var RpropRule = define(Rprop[float32], Rprop[float64], RpropPrologue, rpropSource)

// RpropElem is one element of a parameter under Rprop.
type RpropElem[F rule.Float] struct {
	P    F `slot:"param"`
	G    F `slot:"grad"`
	Prev F `slot:"prev"`
	Step F `slot:"step_size" init:"LR"`
}

// RpropScalars are what Rprop's prologue computes.
type RpropScalars[F rule.Float] struct{ EtaMinus, EtaPlus, StepMin, StepMax F }

// RpropOptions is empty.
type RpropOptions struct{}

// Rprop: Riedmiller & Braun 1993, without weight backtracking, as PyTorch has it: after a change of sign the gradient counts as
// 0, so that the next step changes no step size (iRprop-, Igel & Hüsken 2000). PyTorch takes the sign of a NaN for 0; here a
// NaN is not hidden. Prev is a gradient: it is 0 where that is, and is not flushed.
func Rprop[F rule.Float](e *RpropElem[F], s *RpropScalars[F], o RpropOptions) {
	g, factor := e.G, F(1)
	turn := F(g * e.Prev)
	if turn > 0 {
		factor = s.EtaPlus
	}
	if turn < 0 {
		factor, g = s.EtaMinus, 0
	}
	step := rule.Min(rule.Max(F(e.Step*factor), s.StepMin), s.StepMax)
	e.P -= F(rule.Sign(g) * step)
	e.Prev, e.Step = g, step
}

// RpropHyper are Rprop's hyperparameters. LR is the first step size.
type RpropHyper struct{ LR, EtaMinus, EtaPlus, StepMin, StepMax float64 }

// RpropCounters are what Rprop keeps for a group.
type RpropCounters struct {
	Step float64 `counter:"step"`
}

// RpropPrologue computes the scalars of a step.
func RpropPrologue(h *RpropHyper, t *RpropCounters, s *RpropScalars[float64], o RpropOptions) {
	t.Step += 1
	s.EtaMinus, s.EtaPlus, s.StepMin, s.StepMax = h.EtaMinus, h.EtaPlus, h.StepMin, h.StepMax
}
