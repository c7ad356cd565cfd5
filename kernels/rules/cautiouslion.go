package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed cautiouslion.go
var cautiouslionSource string

// CautiousLionRule is cautious Lion.
var CautiousLionRule = defineStaged(CautiousLionPrologue, cautiouslionSource,
	rule.Elements(CautiousLionAgree[float32], CautiousLionAgree[float64]), rule.Tensors(CautiousLionStep),
	rule.Elements(CautiousLion[float32], CautiousLion[float64]))

// CautiousLionElem is one element of a parameter under cautious Lion.
type CautiousLionElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
}

// CautiousLionScalars are what cautious Lion's prologue computes.
type CautiousLionScalars[F rule.Float] struct{ LR, Beta1, OneMinusBeta1, Beta2, OneMinusBeta2 F }

// CautiousLionTensor is what a tensor has to itself under cautious Lion: the share of its elements that move, and the length of a step.
type CautiousLionTensor[F rule.Float] struct {
	Agree F `fill:"mean"`
	Step  F
}

// CautiousLionOptions is empty.
type CautiousLionOptions struct{}

// CautiousLionAgree is the first half of cautious Lion. It stores nothing: CautiousLion computes the step again, which moves 8 bytes of float32
// here and 20 there. To store the step here would need memory for it, and move 12 and 24.
func CautiousLionAgree[F rule.Float](e *CautiousLionElem[F], s *CautiousLionScalars[F], t *CautiousLionTensor[F], o CautiousLionOptions) {
	t.Agree = cautious(rule.Sign(F(s.Beta1*e.M)+F(s.OneMinusBeta1*e.G)), e.G)
}

// CautiousLionStep makes steps longer by as much as there are fewer of them, up to 1000 times.
func CautiousLionStep(t *CautiousLionTensor[float64], s *CautiousLionScalars[float64], o CautiousLionOptions) {
	t.Step = s.LR / rule.Max(t.Agree, 1e-3)
}

// CautiousLion: Liang et al. 2024: Lion where an element moves only if its step has the sign of its gradient. What does not move is multiplied
// by 0, so that a NaN stays a NaN.
func CautiousLion[F rule.Float](e *CautiousLionElem[F], s *CautiousLionScalars[F], t *CautiousLionTensor[F], o CautiousLionOptions) {
	step := rule.Sign(F(s.Beta1*e.M) + F(s.OneMinusBeta1*e.G))
	e.P -= F(t.Step * F(cautious(step, e.G)*step))
	e.M = rule.Flush(F(s.Beta2*e.M) + F(s.OneMinusBeta2*e.G))
}

// cautious is 1 where a step and the gradient have one sign, and 0 elsewhere.
func cautious[F rule.Float](step, g F) F {
	if F(step*g) > 0 {
		return 1
	}
	return 0
}

// CautiousLionHyper are cautious Lion's hyperparameters.
type CautiousLionHyper struct{ LR, Beta1, Beta2 float64 }

// CautiousLionCounters are what cautious Lion keeps for a group.
type CautiousLionCounters struct {
	Step float64 `counter:"step"`
}

// CautiousLionPrologue computes the scalars of a step.
func CautiousLionPrologue(h *CautiousLionHyper, t *CautiousLionCounters, s *CautiousLionScalars[float64], o CautiousLionOptions) {
	t.Step += 1
	s.LR = h.LR
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
}
