package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed adagrad.go
var adagradSource string

// AdagradRule is Adagrad.
var AdagradRule = define(Adagrad[float32], Adagrad[float64], AdagradPrologue, adagradSource)

// AdagradElem is one element of a parameter under Adagrad.
type AdagradElem[F rule.Float] struct {
	P   F `slot:"param"`
	G   F `slot:"grad"`
	Sum F `slot:"sum" init:"InitialAccumulator"`
}

// AdagradScalars are what Adagrad's prologue computes.
type AdagradScalars[F rule.Float] struct{ StepSize, EpsRoot, Eps F }

// AdagradOptions is empty.
type AdagradOptions struct{}

// Adagrad: Duchi, Hazan & Singer 2011, figure 1 with a diagonal matrix, in PyTorch's order. Other libraries add
// eps below the root: there it is EpsRoot, and 0 otherwise.
func Adagrad[F rule.Float](e *AdagradElem[F], s *AdagradScalars[F], o AdagradOptions) {
	g := e.G
	sum := rule.FlushWith(e.Sum+F(g*g), g)
	e.Sum = sum
	e.P -= F(s.StepSize*g) / (rule.Sqrt(sum+s.EpsRoot) + s.Eps)
}

// AdagradHyper are Adagrad's hyperparameters.
type AdagradHyper struct{ LR, LRDecay, InitialAccumulator, EpsRoot, Eps float64 }

// AdagradCounters are what Adagrad keeps for a group.
type AdagradCounters struct {
	Step float64 `counter:"step"`
}

// AdagradPrologue computes the scalars of a step.
func AdagradPrologue(h *AdagradHyper, t *AdagradCounters, s *AdagradScalars[float64], o AdagradOptions) {
	s.StepSize = h.LR / (1 + float64(t.Step*h.LRDecay))
	s.EpsRoot, s.Eps = h.EpsRoot, h.Eps
	t.Step += 1
}
