package kernels

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed sgd.go
var sgdSource string

// SGDRule is stochastic gradient descent; on the whole batch it is gradient descent.
var SGDRule = define(SGD[float32], SGD[float64], SGDPrologue, sgdSource)

// SGDElem is one element of a parameter under SGD.
type SGDElem[F rule.Float] struct {
	P   F `slot:"param"`
	G   F `slot:"grad"`
	Buf F `slot:"momentum_buffer"`
}

// SGDScalars are what SGD's prologue computes.
type SGDScalars[F rule.Float] struct{ LR, WeightDecay, L1, Momentum, OneMinusDampening F }

// SGDOptions says which terms SGD has.
type SGDOptions struct{ L1, L2, Momentum, Nesterov bool }

// SGD is PyTorch's: momentum accumulates gradients, not steps (Sutskever et al. 2013 differ in where the learning rate stands),
// and the first gradient enters the buffer undamped. L2 adds weight_decay·p to the gradient, L1 adds l1·sign(p).
func SGD[F rule.Float](e *SGDElem[F], s *SGDScalars[F], o SGDOptions) {
	p, g := e.P, e.G
	if o.L2 {
		g += F(s.WeightDecay * p)
	}
	if o.L1 {
		g += F(s.L1 * rule.Sign(p))
	}
	if o.Momentum {
		buf := rule.Flush(F(s.Momentum*e.Buf) + F(s.OneMinusDampening*g))
		e.Buf = buf
		if o.Nesterov {
			g += F(s.Momentum * buf)
		} else {
			g = buf
		}
	}
	e.P = p - F(s.LR*g)
}

// SGDHyper are SGD's hyperparameters.
type SGDHyper struct{ LR, Momentum, Dampening, WeightDecay, L1 float64 }

// SGDState is what SGD keeps for a group.
type SGDState struct {
	Step float64 `state:"step"`
}

// SGDPrologue computes the scalars of a step.
func SGDPrologue(h *SGDHyper, t *SGDState, s *SGDScalars[float64], o SGDOptions) {
	s.LR, s.WeightDecay, s.L1, s.Momentum = h.LR, h.WeightDecay, h.L1, h.Momentum
	s.OneMinusDampening = 1 - h.Dampening
	if t.Step == 0 {
		s.OneMinusDampening = 1
	}
	t.Step += 1
}
