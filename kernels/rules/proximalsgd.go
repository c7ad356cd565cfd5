package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed proximalsgd.go
var proximalSGDSource string

// ProximalSGDRule is proximal stochastic gradient descent.
var ProximalSGDRule = define(ProximalSGD[float32], ProximalSGD[float64], ProximalSGDPrologue, proximalSGDSource)

// ProximalSGDElem is one element of a parameter under proximal SGD.
type ProximalSGDElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
}

// ProximalSGDScalars are what proximal SGD's prologue computes.
type ProximalSGDScalars[F rule.Float] struct{ LR, Threshold, Shrink F }

// ProximalSGDOptions is empty: without penalties Threshold is 0 and Shrink is 1, and both are exact.
type ProximalSGDOptions struct{}

// ProximalSGD: Duchi & Singer 2009 (FOBOS), a gradient step and then the minimum of the penalties and the distance from
// where it led, with l1·|p| and l2·p²/2. The order is that of TensorFlow's ApplyProximalGradientDescent, which divides by 1 + lr·l2
// where this multiplies by its reciprocal. A weight within the threshold becomes 0, never -0.
func ProximalSGD[F rule.Float](e *ProximalSGDElem[F], s *ProximalSGDScalars[F], o ProximalSGDOptions) {
	prox := e.P - F(s.LR*e.G)
	e.P = F(rule.Sign(prox) * rule.Max(rule.Abs(prox)-s.Threshold, 0) * s.Shrink)
}

// ProximalSGDHyper are proximal SGD's hyperparameters.
type ProximalSGDHyper struct{ LR, L1, L2 float64 }

// ProximalSGDCounters are what proximal SGD keeps for a group.
type ProximalSGDCounters struct {
	Step float64 `counter:"step"`
}

// ProximalSGDPrologue computes the scalars of a step.
func ProximalSGDPrologue(h *ProximalSGDHyper, t *ProximalSGDCounters, s *ProximalSGDScalars[float64], o ProximalSGDOptions) {
	t.Step += 1
	s.LR, s.Threshold = h.LR, h.LR*h.L1
	s.Shrink = 1 / (1 + float64(h.LR*h.L2))
}
