package kernels

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed sgdw.go
var sgdwSource string

// SGDWRule is SGD with momentum and decoupled weight decay.
var SGDWRule = define(SGDW[float32], SGDW[float64], SGDWPrologue, sgdwSource)

// SGDWElem is one element of a parameter under SGDW.
type SGDWElem[F rule.Float] struct {
	P   F `slot:"param"`
	G   F `slot:"grad"`
	Buf F `slot:"momentum_buffer"`
}

// SGDWScalars are what SGDW's prologue computes.
type SGDWScalars[F rule.Float] struct{ LR, Momentum, Decay F }

// SGDWOptions is empty: without decay, Decay is 1.
type SGDWOptions struct{}

// SGDW: Loshchilov & Hutter 2019, algorithm 1. The momentum accumulates steps, that is gradients times their learning rates,
// where SGD's accumulates gradients: after a change of the learning rate the old steps keep their length. The paper subtracts
// the decay last; here it is a factor of the parameter, as in AdamW.
func SGDW[F rule.Float](e *SGDWElem[F], s *SGDWScalars[F], o SGDWOptions) {
	buf := rule.Flush(F(s.Momentum*e.Buf) + F(s.LR*e.G))
	e.Buf = buf
	e.P = F(e.P*s.Decay) - buf
}

// SGDWHyper are SGDW's hyperparameters.
type SGDWHyper struct{ LR, Momentum, DecoupledDecay float64 }

// SGDWState is what SGDW keeps for a group.
type SGDWState struct {
	Step float64 `state:"step"`
}

// SGDWPrologue computes the scalars of a step. The paper's decay is η·λ, with η the schedule's factor and η·α the learning rate:
// DecoupledDecay is λ/α.
func SGDWPrologue(h *SGDWHyper, t *SGDWState, s *SGDWScalars[float64], o SGDWOptions) {
	t.Step += 1
	s.LR, s.Momentum = h.LR, h.Momentum
	s.Decay = 1 - float64(h.LR*h.DecoupledDecay)
}
