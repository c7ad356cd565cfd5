package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed accumulate.go
var accumulateSource string

// AccumulateRule adds up gradients of micro-batches. It runs alone: kernels.Spec.Alone.
var AccumulateRule = define(Accumulate[float32], Accumulate[float64], AccumulatePrologue, accumulateSource)

// AccumulateElem is one element: the sum so far, in the place of a parameter, and a gradient.
type AccumulateElem[F rule.Float] struct {
	Sum F `slot:"param"`
	G   F `slot:"grad"`
}

// Accumulate is one addition, rounded once.
func Accumulate[F rule.Float](e *AccumulateElem[F], _ *struct{}, _ struct{}) {
	e.Sum += e.G
}

// AccumulateHyper is what every rule has.
type AccumulateHyper struct{ LR float64 }

// AccumulatePrologue has nothing to compute.
func AccumulatePrologue(_ *AccumulateHyper, _ *struct{}, _ *struct{}, _ struct{}) {}
