package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed average.go
var averageSource string

// AverageRule makes of a parameter's moving average, rule.EMA, what is to be evaluated.
var AverageRule = define(Average[float32], Average[float64], AveragePrologue, averageSource)

// AverageElem is one element: X is written, P is the parameter that is trained.
type AverageElem[F rule.Float] struct {
	X   F `slot:"param"`
	P   F `slot:"grad"`
	EMA F `slot:"ema"`
}

// AverageScalars are what AveragePrologue computes. Started is 0 before the first step.
type AverageScalars[F rule.Float] struct{ Started F }

// Average: before the first step there is no average, and the parameter is evaluated.
func Average[F rule.Float](e *AverageElem[F], s *AverageScalars[F], _ struct{}) {
	e.X = e.EMA
	if s.Started == 0 {
		e.X = e.P
	}
}

// AverageHyper is what every rule has.
type AverageHyper struct{ LR float64 }

// AverageCounters are the steps that were taken.
type AverageCounters struct {
	Step float64 `counter:"step"`
}

// AveragePrologue computes the scalars.
func AveragePrologue(h *AverageHyper, t *AverageCounters, s *AverageScalars[float64], _ struct{}) {
	s.Started = 0
	if t.Step != 0 {
		s.Started = 1
	}
}
