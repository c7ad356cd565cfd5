package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed adadelta.go
var adadeltaSource string

// AdadeltaRule is Adadelta.
var AdadeltaRule = define(Adadelta[float32], Adadelta[float64], AdadeltaPrologue, adadeltaSource)

// AdadeltaElem is one element of a parameter under Adadelta.
type AdadeltaElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	V F `slot:"square_avg"`
	D F `slot:"acc_delta"`
}

// AdadeltaScalars are what Adadelta's prologue computes.
type AdadeltaScalars[F rule.Float] struct{ LR, Rho, OneMinusRho, Eps F }

// AdadeltaOptions is empty.
type AdadeltaOptions struct{}

// Adadelta: Zeiler 2012, algorithm 1, in PyTorch's order, with its learning rate. Acc_delta is flushed as a second moment is: while
// steps are taken, they need it.
func Adadelta[F rule.Float](e *AdadeltaElem[F], s *AdadeltaScalars[F], o AdadeltaOptions) {
	g := e.G
	v := rule.FlushWith(F(s.Rho*e.V)+F(F(s.OneMinusRho*g)*g), g)
	delta := F(rule.Sqrt(e.D+s.Eps) / rule.Sqrt(v+s.Eps) * g)
	e.V = v
	e.D = rule.FlushWith(F(s.Rho*e.D)+F(F(s.OneMinusRho*delta)*delta), delta)
	e.P -= F(s.LR * delta)
}

// AdadeltaHyper are Adadelta's hyperparameters.
type AdadeltaHyper struct{ LR, Rho, Eps float64 }

// AdadeltaCounters are what Adadelta keeps for a group.
type AdadeltaCounters struct {
	Step float64 `counter:"step"`
}

// AdadeltaPrologue computes the scalars of a step.
func AdadeltaPrologue(h *AdadeltaHyper, t *AdadeltaCounters, s *AdadeltaScalars[float64], o AdadeltaOptions) {
	t.Step += 1
	s.LR, s.Eps = h.LR, h.Eps
	s.Rho, s.OneMinusRho = h.Rho, 1-h.Rho
}
