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

// SGDScalars are what SGD's prologue computes. GradShare is what of a gradient enters the momentum; where that accumulates steps,
// the learning rate is in it, and LR is 1.
type SGDScalars[F rule.Float] struct{ LR, WeightDecay, L1, Momentum, GradShare, Decay F }

// SGDOptions says which terms SGD has. Nesterov takes no dampening. Decoupled decay is no option: without it Decay is 1, and p·1
// is p.
type SGDOptions struct{ L1, L2, Momentum, Nesterov bool }

// SGD is PyTorch's: momentum accumulates gradients, and the first gradient enters the buffer undamped. L2 adds weight_decay·p to
// the gradient, L1 adds l1·sign(p). Sutskever et al. 2013, and Loshchilov & Hutter 2019, algorithm 1, SGDW, accumulate steps, that
// is gradients times their learning rates: then after a change of the learning rate the old steps keep their length. SGDW's
// paper subtracts the decay last; here it is a factor of the parameter, as in AdamW.
func SGD[F rule.Float](e *SGDElem[F], s *SGDScalars[F], o SGDOptions) {
	p, g := e.P, e.G
	if o.L2 {
		g += F(s.WeightDecay * p)
	}
	if o.L1 {
		g += F(s.L1 * rule.Sign(p))
	}
	if o.Momentum {
		g = F(s.GradShare * g)
		buf := rule.Flush(F(s.Momentum*e.Buf) + g)
		e.Buf = buf
		if o.Nesterov {
			g += F(s.Momentum * buf)
		} else {
			g = buf
		}
	}
	e.P = F(p*s.Decay) - F(s.LR*g)
}

// SGDHyper are SGD's hyperparameters. WeightDecay is coupled, an L2 term of the gradient. LRInMomentum is off when 0. SGDW's paper
// decays by η·λ, with η the schedule's factor and η·α the learning rate: DecoupledDecay is λ/α.
type SGDHyper struct{ LR, Momentum, Dampening, WeightDecay, DecoupledDecay, L1, LRInMomentum float64 }

// SGDState is what SGD keeps for a group.
type SGDState struct {
	Step float64 `state:"step"`
}

// SGDPrologue computes the scalars of a step.
func SGDPrologue(h *SGDHyper, t *SGDState, s *SGDScalars[float64], o SGDOptions) {
	s.WeightDecay, s.L1, s.Momentum = h.WeightDecay, h.L1, h.Momentum
	s.Decay = 1 - float64(h.LR*h.DecoupledDecay)
	s.LR, s.GradShare = h.LR, 1
	if t.Step != 0 {
		s.GradShare = 1 - h.Dampening
	}
	if o.Momentum && h.LRInMomentum != 0 {
		s.LR, s.GradShare = 1, float64(h.LR*s.GradShare)
	}
	t.Step += 1
}
