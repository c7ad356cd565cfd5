package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed yogi.go
var yogiSource string

// YogiRule is Yogi.
var YogiRule = define(Yogi[float32], Yogi[float64], YogiPrologue, yogiSource)

// YogiElem is one element of a parameter under Yogi.
type YogiElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg" init:"InitialAccumulator"`
	V F `slot:"exp_avg_sq" init:"InitialAccumulator"`
}

// YogiScalars are what Yogi's prologue computes.
type YogiScalars[F rule.Float] struct{ Beta1, OneMinusBeta1, OneMinusBeta2, StepSize, InvSqrtBias2, Eps F }

// YogiOptions is empty.
type YogiOptions struct{}

// Yogi: Zaheer et al. 2018, algorithm 2, as optax has it: with Adam's bias corrections, and with both moments starting at the
// initial accumulator. The second moment goes towards g² by a share of g², not of their distance. Bias corrections are
// scalars, as in Adam.
func Yogi[F rule.Float](e *YogiElem[F], s *YogiScalars[F], o YogiOptions) {
	g2 := F(e.G * e.G)
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*e.G))
	v := rule.FlushWith(e.V-F(F(s.OneMinusBeta2*rule.Sign(e.V-g2))*g2), m)
	e.P -= F(s.StepSize * (m / (F(rule.Sqrt(v)*s.InvSqrtBias2) + s.Eps)))
	e.M, e.V = m, v
}

// YogiHyper are Yogi's hyperparameters.
type YogiHyper struct{ LR, Beta1, Beta2, Eps, InitialAccumulator float64 }

// YogiCounters are what Yogi keeps for a group: the powers as running products, which every device computes alike.
type YogiCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// YogiPrologue computes the scalars of a step.
func YogiPrologue(h *YogiHyper, t *YogiCounters, s *YogiScalars[float64], o YogiOptions) {
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	s.Eps = h.Eps
	s.Beta1, s.OneMinusBeta1, s.OneMinusBeta2 = h.Beta1, 1-h.Beta1, 1-h.Beta2
	s.StepSize = h.LR / (1 - float64(t.Beta1Power))
	s.InvSqrtBias2 = 1 / rule.Sqrt(1-float64(t.Beta2Power))
}
