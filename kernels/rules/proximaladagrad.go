package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed proximaladagrad.go
var proximalAdagradSource string

// ProximalAdagradRule is proximal Adagrad.
var ProximalAdagradRule = define(ProximalAdagrad[float32], ProximalAdagrad[float64], ProximalAdagradPrologue, proximalAdagradSource)

// ProximalAdagradElem is one element of a parameter under proximal Adagrad.
type ProximalAdagradElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	N F `slot:"accumulator" init:"InitialAccumulator"`
}

// ProximalAdagradScalars are what proximal Adagrad's prologue computes.
type ProximalAdagradScalars[F rule.Float] struct{ LR, L1, L2 F }

// ProximalAdagradOptions says whether proximal Adagrad has its L2 penalty. L1 is no option: without it the threshold is 0, which is
// exact.
type ProximalAdagradOptions struct{ ProximalL2 bool }

// ProximalAdagrad: Duchi, Hazan & Singer 2011, the composite mirror descent update with a diagonal matrix, in the order of
// TensorFlow's ApplyProximalAdagrad, which divides by 1 also without L2. Each element has a learning rate of its own, so that L2
// costs it a second division. The accumulator starts above 0 and only grows, so it is not flushed: 0 would divide.
func ProximalAdagrad[F rule.Float](e *ProximalAdagradElem[F], s *ProximalAdagradScalars[F], o ProximalAdagradOptions) {
	n := e.N + F(e.G*e.G)
	e.N = n
	rate := F(s.LR * (1 / rule.Sqrt(n)))
	prox := e.P - F(rate*e.G)
	p := F(rule.Sign(prox) * rule.Max(rule.Abs(prox)-F(rate*s.L1), 0))
	if o.ProximalL2 {
		p /= 1 + F(rate*s.L2)
	}
	e.P = p
}

// ProximalAdagradHyper are proximal Adagrad's hyperparameters.
type ProximalAdagradHyper struct{ LR, InitialAccumulator, L1, L2 float64 }

// ProximalAdagradCounters are what proximal Adagrad keeps for a group.
type ProximalAdagradCounters struct {
	Step float64 `counter:"step"`
}

// ProximalAdagradPrologue computes the scalars of a step.
func ProximalAdagradPrologue(h *ProximalAdagradHyper, t *ProximalAdagradCounters, s *ProximalAdagradScalars[float64], o ProximalAdagradOptions) {
	t.Step += 1
	s.LR, s.L1, s.L2 = h.LR, h.L1, h.L2
}
