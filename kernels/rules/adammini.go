package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed adammini.go
var adamMiniSource string

// AdamMiniRule is Adam-mini.
var AdamMiniRule = defineStaged(AdamMiniPrologue, adamMiniSource,
	rule.MatrixElements(AdamMiniSquares[float32], AdamMiniSquares[float64]), rule.Rows(AdamMiniRows[float32], AdamMiniRows[float64]),
	rule.MatrixElements(AdamMini[float32], AdamMini[float64]))

// AdamMiniElem is one element of a parameter under Adam-mini. V is of a tensor without rows alone.
type AdamMiniElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	V F `slot:"exp_avg_sq"`
}

// AdamMiniRow is a block, whose elements have one second moment: the mean of the gradients' squares, the average of that, and one over its
// corrected root.
type AdamMiniRow[F rule.Float] struct {
	G   F `fill:"mean"`
	V   F `slot:"vmean"`
	Inv F
}

// AdamMiniScalars are what Adam-mini's prologue computes.
type AdamMiniScalars[F rule.Float] struct {
	Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, InvSqrtBias2, Eps, StepSize F
}

// AdamMiniOptions say whether the tensor has rows.
type AdamMiniOptions struct{ Matrix bool }

// AdamMiniSquares is the first of two passes.
func AdamMiniSquares[F rule.Float](e *AdamMiniElem[F], s *AdamMiniScalars[F], _ *struct{}, r *AdamMiniRow[F], _ *struct{}, o AdamMiniOptions) {
	if o.Matrix {
		r.G = F(e.G * e.G)
	} else {
		e.V = rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*e.G)*e.G), e.G)
	}
}

// AdamMiniRows averages the blocks' squares.
func AdamMiniRows[F rule.Float](r *AdamMiniRow[F], s *AdamMiniScalars[F], _ *struct{}, o AdamMiniOptions) {
	v := rule.Flush(F(s.Beta2*r.V) + F(s.OneMinusBeta2*r.G))
	r.V, r.Inv = v, 1/(F(rule.Sqrt(v)*s.InvSqrtBias2)+s.Eps)
}

// AdamMini: Zhang et al. 2024, algorithm 2, as the authors' code has it: Adam with one second moment for each block of a tensor, the average of the mean
// of the block's squares. A tensor without rows is Adam's.
func AdamMini[F rule.Float](e *AdamMiniElem[F], s *AdamMiniScalars[F], _ *struct{}, r *AdamMiniRow[F], _ *struct{}, o AdamMiniOptions) {
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*e.G))
	if o.Matrix {
		e.P -= F(s.StepSize * F(m*r.Inv))
	} else {
		e.P -= F(s.StepSize * (m / (F(rule.Sqrt(e.V)*s.InvSqrtBias2) + s.Eps)))
	}
	e.M = m
}

// AdamMiniHyper are Adam-mini's hyperparameters.
type AdamMiniHyper struct{ LR, Beta1, Beta2, Eps float64 }

// AdamMiniCounters are what Adam-mini keeps for a group: the powers as running products, which every device computes alike.
type AdamMiniCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// AdamMiniPrologue computes the scalars of a step.
func AdamMiniPrologue(h *AdamMiniHyper, t *AdamMiniCounters, s *AdamMiniScalars[float64], o AdamMiniOptions) {
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	s.StepSize, s.InvSqrtBias2 = h.LR/(1-float64(t.Beta1Power)), 1/rule.Sqrt(1-float64(t.Beta2Power))
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.Eps = h.Eps
}
