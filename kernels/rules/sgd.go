package rules

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
type SGDScalars[F rule.Float] struct{ LR, Momentum, GradShare F }

// SGDOptions says which terms SGD has. Nesterov takes no dampening.
type SGDOptions struct{ Momentum, Nesterov bool }

// SGD is PyTorch's: momentum accumulates gradients, and the first gradient enters the buffer undamped. Sutskever et al. 2013, and Loshchilov & Hutter 2019, algorithm 1, SGDW, accumulate steps, that
// is gradients times their learning rates: then after a change of the learning rate the old steps keep their length. SGDW's
// paper subtracts the decay last; here it is the program's, a factor of the parameter before the step, as in AdamW.
func SGD[F rule.Float](e *SGDElem[F], s *SGDScalars[F], o SGDOptions) {
	g := e.G
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
	e.P -= F(s.LR * g)
}

// SGDHyper are SGD's hyperparameters. LRInMomentum is off when 0.
type SGDHyper struct{ LR, Momentum, Dampening, LRInMomentum float64 }

// SGDCounters are what SGD keeps for a group.
type SGDCounters struct {
	Step float64 `counter:"step"`
}

// SGDPrologue computes the scalars of a step.
func SGDPrologue(h *SGDHyper, t *SGDCounters, s *SGDScalars[float64], o SGDOptions) {
	s.Momentum = h.Momentum
	s.LR, s.GradShare = h.LR, 1
	if t.Step != 0 {
		s.GradShare = 1 - h.Dampening
	}
	if o.Momentum && h.LRInMomentum != 0 {
		s.LR, s.GradShare = 1, float64(h.LR*s.GradShare)
	}
	t.Step += 1
}
