package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed stableadamw.go
var stableadamwSource string

// StableAdamWRule is StableAdamW.
var StableAdamWRule = defineStaged(StableAdamWPrologue, stableadamwSource,
	rule.Elements(StableAdamWRatio[float32], StableAdamWRatio[float64]), rule.Tensors(StableAdamWClip),
	rule.Elements(StableAdamW[float32], StableAdamW[float64]))

// StableAdamWElem is one element of a parameter under StableAdamW.
type StableAdamWElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	V F `slot:"exp_avg_sq"`
}

// StableAdamWScalars are what StableAdamW's prologue computes. The betas are those that leave no bias.
type StableAdamWScalars[F rule.Float] struct{ Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, Eps, LR, WeightDecay F }

// StableAdamWTensor is what a tensor has to itself under StableAdamW: the sum of its gradient's squares divided by their averages, the number of
// its elements, the learning rate, and what is left of the parameter.
type StableAdamWTensor[F rule.Float] struct {
	Ratio F `fill:"squares"`
	N     F `count:"elements"`
	Rate  F
	Left  F
}

// StableAdamWOptions is empty.
type StableAdamWOptions struct{}

// StableAdamWRatio is the first half of StableAdamW. It stores nothing, so that StableAdamW computes exp_avg_sq again: that moves 8 bytes of
// float32 here and 28 there. To store both moments here would move 20 and 16, no less, and more where gradients have 16 bits.
func StableAdamWRatio[F rule.Float](e *StableAdamWElem[F], s *StableAdamWScalars[F], t *StableAdamWTensor[F], o StableAdamWOptions) {
	v := F(s.Beta2*e.V) + F(F(s.OneMinusBeta2*e.G)*e.G)
	t.Ratio = e.G / rule.Max(rule.Sqrt(v), s.Eps)
}

// StableAdamWClip divides the learning rate by the root of the mean, where it is above 1.
func StableAdamWClip(t *StableAdamWTensor[float64], s *StableAdamWScalars[float64], o StableAdamWOptions) {
	t.Rate = s.LR / rule.Max(rule.Sqrt(t.Ratio/t.N), 1)
	t.Left = 1 - float64(t.Rate*s.WeightDecay)
}

// StableAdamW: Wortsman et al. 2023, algorithm 2: AdamW with Adafactor's update clipping. The learning rate of a tensor, which decays it too, is
// less where its gradient is larger than its second moment has learnt. There is no bias correction: the betas of the first steps are smaller.
func StableAdamW[F rule.Float](e *StableAdamWElem[F], s *StableAdamWScalars[F], t *StableAdamWTensor[F], o StableAdamWOptions) {
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*e.G))
	v := rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*e.G)*e.G), m)
	e.P = F(e.P*t.Left) - F(t.Rate*(m/(rule.Sqrt(v)+s.Eps)))
	e.M, e.V = m, v
}

// StableAdamWHyper are StableAdamW's hyperparameters.
type StableAdamWHyper struct{ LR, Beta1, Beta2, Eps, WeightDecay float64 }

// StableAdamWCounters are what StableAdamW keeps for a group: the powers as running products, which every device computes alike.
type StableAdamWCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// StableAdamWPrologue computes the scalars of a step. An average whose beta in step t is (β-β^t)/(1-β^t) is the one with β, divided by 1-β^t.
func StableAdamWPrologue(h *StableAdamWHyper, t *StableAdamWCounters, s *StableAdamWScalars[float64], o StableAdamWOptions) {
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	bias1, bias2 := 1-float64(t.Beta1Power), 1-float64(t.Beta2Power)
	s.Beta1, s.OneMinusBeta1 = (h.Beta1-float64(t.Beta1Power))/bias1, (1-h.Beta1)/bias1
	s.Beta2, s.OneMinusBeta2 = (h.Beta2-float64(t.Beta2Power))/bias2, (1-h.Beta2)/bias2
	s.Eps, s.LR, s.WeightDecay = h.Eps, h.LR, h.WeightDecay
}
