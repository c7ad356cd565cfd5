package rules

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
	V   F `slot:"square_avg" init:"InitialScale"`
	GA  F `slot:"grad_avg"`
	Buf F `slot:"momentum_buffer"`
}

// RMSpropScalars are what RMSprop's prologue computes. The learning rate is InnerLR or OuterLR, and the other of them 1.
type RMSpropScalars[F rule.Float] struct {
	InnerLR, OuterLR, Alpha, OneMinusAlpha, EpsRoot, Eps, Momentum F
}

// RMSpropOptions says which terms RMSprop has.
type RMSpropOptions struct{ Centered, Momentum bool }

// RMSprop: Tieleman & Hinton 2012, lecture 6e, in PyTorch's order: eps is added to the root, not below it. Centered is Graves
// 2013, equations 38 to 40, with eps outside the root. A variance that rounding or flushing makes negative is 0; in PyTorch
// its root is NaN. Other libraries add eps below the root: there it is EpsRoot, and 0 otherwise.
func RMSprop[F rule.Float](e *RMSpropElem[F], s *RMSpropScalars[F], o RMSpropOptions) {
	g := e.G
	v := rule.FlushWith(F(s.Alpha*e.V)+F(F(s.OneMinusAlpha*g)*g), g)
	e.V = v
	if o.Centered {
		mean := rule.Flush(F(s.Alpha*e.GA) + F(s.OneMinusAlpha*g))
		e.GA = mean
		v = rule.Max(v-F(mean*mean), 0)
	}
	step := F(s.InnerLR*g) / (rule.Sqrt(v+s.EpsRoot) + s.Eps)
	if o.Momentum {
		buf := rule.Flush(F(s.Momentum*e.Buf) + step)
		e.Buf = buf
		step = F(s.OuterLR * buf)
	}
	e.P -= step
}

// RMSpropHyper are RMSprop's hyperparameters. LRInMomentum is off when 0.
type RMSpropHyper struct {
	LR, Alpha, EpsRoot, Eps, Momentum, InitialScale, LRInMomentum float64
}

// RMSpropCounters are what RMSprop keeps for a group.
type RMSpropCounters struct {
	Step float64 `counter:"step"`
}

// RMSpropPrologue computes the scalars of a step.
func RMSpropPrologue(h *RMSpropHyper, t *RMSpropCounters, s *RMSpropScalars[float64], o RMSpropOptions) {
	t.Step += 1
	s.InnerLR, s.OuterLR = h.LR, 1
	if o.Momentum && h.LRInMomentum == 0 {
		s.InnerLR, s.OuterLR = 1, h.LR
	}
	s.EpsRoot, s.Eps, s.Momentum = h.EpsRoot, h.Eps, h.Momentum
	s.Alpha, s.OneMinusAlpha = h.Alpha, 1-h.Alpha
}
