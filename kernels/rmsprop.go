package kernels

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed rmsprop.go
var rmspropSource string

// RMSpropRule is RMSprop.
var RMSpropRule = define(RMSprop[float32], RMSprop[float64], RMSpropPrologue, rmspropSource)

// RMSpropElem is one element of a parameter under RMSprop.
type RMSpropElem[F rule.Float] struct {
	P   F `slot:"param"`
	G   F `slot:"grad"`
	V   F `slot:"square_avg"`
	GA  F `slot:"grad_avg"`
	Buf F `slot:"momentum_buffer"`
}

// RMSpropScalars are what RMSprop's prologue computes.
type RMSpropScalars[F rule.Float] struct{ LR, WeightDecay, Alpha, OneMinusAlpha, Eps, Momentum F }

// RMSpropOptions says which terms RMSprop has.
type RMSpropOptions struct{ L2, Centered, Momentum bool }

// RMSprop: Tieleman & Hinton 2012, lecture 6e, in PyTorch's order: eps is added to the root, not below it. Centered is Graves
// 2013, equations 38 to 40, with eps outside the root. A variance that rounding or flushing makes negative is 0; in PyTorch
// its root is NaN.
func RMSprop[F rule.Float](e *RMSpropElem[F], s *RMSpropScalars[F], o RMSpropOptions) {
	g := e.G
	if o.L2 {
		g += F(s.WeightDecay * e.P)
	}
	v := rule.Flush(F(s.Alpha*e.V) + F(F(s.OneMinusAlpha*g)*g))
	e.V = v
	if o.Centered {
		mean := rule.Flush(F(s.Alpha*e.GA) + F(s.OneMinusAlpha*g))
		e.GA = mean
		v = rule.Max(v-F(mean*mean), 0)
	}
	d := rule.Sqrt(v) + s.Eps
	if o.Momentum {
		buf := rule.Flush(F(s.Momentum*e.Buf) + g/d)
		e.Buf = buf
		e.P -= F(s.LR * buf)
	} else {
		e.P -= F(s.LR*g) / d
	}
}

// RMSpropHyper are RMSprop's hyperparameters.
type RMSpropHyper struct{ LR, Alpha, Eps, Momentum, WeightDecay float64 }

// RMSpropState is what RMSprop keeps for a group.
type RMSpropState struct {
	Step float64 `state:"step"`
}

// RMSpropPrologue computes the scalars of a step.
func RMSpropPrologue(h *RMSpropHyper, t *RMSpropState, s *RMSpropScalars[float64], o RMSpropOptions) {
	t.Step += 1
	s.LR, s.WeightDecay, s.Eps, s.Momentum = h.LR, h.WeightDecay, h.Eps, h.Momentum
	s.Alpha, s.OneMinusAlpha = h.Alpha, 1-h.Alpha
}
