package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed cautiousadamw.go
var cautiousadamwSource string

// CautiousAdamWRule is cautious Adam, and where its program decays the parameter cautious AdamW.
var CautiousAdamWRule = defineStaged(CautiousAdamWPrologue, cautiousadamwSource,
	rule.Elements(CautiousAdamWAgree[float32], CautiousAdamWAgree[float64]), rule.Tensors(CautiousAdamWStep),
	rule.Elements(CautiousAdamW[float32], CautiousAdamW[float64]))

// CautiousAdamWElem is one element of a parameter under cautious AdamW.
type CautiousAdamWElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	V F `slot:"exp_avg_sq"`
}

// CautiousAdamWScalars are what cautious AdamW's prologue computes.
type CautiousAdamWScalars[F rule.Float] struct {
	Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, StepSize, InvSqrtBias2, Eps F
}

// CautiousAdamWTensor is what a tensor has to itself under cautious AdamW: the share of its elements that move, and the step size.
type CautiousAdamWTensor[F rule.Float] struct {
	Agree F `fill:"mean"`
	Step  F
}

// CautiousAdamWOptions is empty.
type CautiousAdamWOptions struct{}

// CautiousAdamWAgree is the first half of cautious AdamW. It stores nothing, so that CautiousAdamW computes exp_avg again: that moves 8 bytes of
// float32 here and 28 there. To store exp_avg here would move 12 and 24, and as many in all.
func CautiousAdamWAgree[F rule.Float](e *CautiousAdamWElem[F], s *CautiousAdamWScalars[F], t *CautiousAdamWTensor[F], o CautiousAdamWOptions) {
	t.Agree = agree(rule.Flush(F(s.Beta1*e.M)+F(s.OneMinusBeta1*e.G)), e.G)
}

// CautiousAdamWStep makes steps longer by as much as there are fewer of them, up to 1000 times.
func CautiousAdamWStep(t *CautiousAdamWTensor[float64], s *CautiousAdamWScalars[float64], o CautiousAdamWOptions) {
	t.Step = s.StepSize / rule.Max(t.Agree, 1e-3)
}

// CautiousAdamW: Liang et al. 2024, in the order of the authors' code: AdamW where an element moves only if exp_avg has the sign of its gradient.
// What does not move is multiplied by 0, so that a NaN stays a NaN.
func CautiousAdamW[F rule.Float](e *CautiousAdamWElem[F], s *CautiousAdamWScalars[F], t *CautiousAdamWTensor[F], o CautiousAdamWOptions) {
	g := e.G
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*g))
	v := rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*g)*g), m)
	e.P -= F(t.Step * (F(agree(m, g)*m) / (F(rule.Sqrt(v)*s.InvSqrtBias2) + s.Eps)))
	e.M, e.V = m, v
}

// agree is 1 where a step and the gradient have one sign, and 0 elsewhere.
func agree[F rule.Float](step, g F) F {
	if F(step*g) > 0 {
		return 1
	}
	return 0
}

// CautiousAdamWHyper are cautious AdamW's hyperparameters.
type CautiousAdamWHyper struct{ LR, Beta1, Beta2, Eps float64 }

// CautiousAdamWCounters are what cautious AdamW keeps for a group: the powers as running products, which every device computes alike.
type CautiousAdamWCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// CautiousAdamWPrologue computes the scalars of a step.
func CautiousAdamWPrologue(h *CautiousAdamWHyper, t *CautiousAdamWCounters, s *CautiousAdamWScalars[float64], o CautiousAdamWOptions) {
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.StepSize = h.LR / (1 - float64(t.Beta1Power))
	s.InvSqrtBias2, s.Eps = 1/rule.Sqrt(1-float64(t.Beta2Power)), h.Eps
}
