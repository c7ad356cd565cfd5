package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed lamb.go
var lambSource string

// LAMBRule is LAMB.
var LAMBRule = defineStaged(LAMBPrologue, lambSource,
	rule.Elements(LAMBMoments[float32], LAMBMoments[float64]), rule.Tensors(LAMBTrust), rule.Elements(LAMB[float32], LAMB[float64]))

// LAMBElem is one element of a parameter under LAMB.
type LAMBElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	V F `slot:"exp_avg_sq"`
}

// LAMBScalars are what LAMB's prologue computes. Adapt is 1 where steps have the trust ratio, and 0 where they have not.
type LAMBScalars[F rule.Float] struct {
	Beta1, GradShare, Beta2, OneMinusBeta2, InvBias1, InvSqrtBias2, Eps, WeightDecay, LR, Adapt F
}

// LAMBTensor is what a tensor has to itself under LAMB: the squares of the parameter and of its update, and the learning rate times the trust
// ratio.
type LAMBTensor[F rule.Float] struct {
	P    F `fill:"squares"`
	U    F `fill:"squares"`
	Rate F
}

// LAMBOptions is empty.
type LAMBOptions struct{}

// LAMBMoments is the first half of LAMB. It stores the moments and not the update, which LAMB computes again from them: that moves 24 bytes of
// float32 here and 16 there. To store no moments here, and compute them again from the gradient, would move 16 and 28.
func LAMBMoments[F rule.Float](e *LAMBElem[F], s *LAMBScalars[F], t *LAMBTensor[F], o LAMBOptions) {
	m := rule.Flush(F(s.Beta1*e.M) + F(s.GradShare*e.G))
	v := rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*e.G)*e.G), m)
	t.P = e.P
	t.U = lambUpdate(e.P, m, v, s.InvBias1, s.InvSqrtBias2, s.Eps, s.WeightDecay)
	e.M, e.V = m, v
}

// LAMBTrust makes the trust ratio, which is 1 where one of the norms is 0.
func LAMBTrust(t *LAMBTensor[float64], s *LAMBScalars[float64], o LAMBOptions) {
	t.Rate = s.LR
	if s.Adapt != 0 && t.P != 0 && t.U != 0 {
		t.Rate = s.LR * (rule.Sqrt(t.P) / rule.Sqrt(t.U))
	}
}

// LAMB: You et al. 2020, algorithm 2, as apex' FusedLAMB has it, without the function φ: Adam whose steps have the length of the learning rate
// times the parameter's norm. Weight decay is a term of the update, and so of its norm. Bias corrections are scalars, as in Adam.
func LAMB[F rule.Float](e *LAMBElem[F], s *LAMBScalars[F], t *LAMBTensor[F], o LAMBOptions) {
	e.P -= F(t.Rate * lambUpdate(e.P, e.M, e.V, s.InvBias1, s.InvSqrtBias2, s.Eps, s.WeightDecay))
}

// lambUpdate is Adam's step of length 1, and the decay.
func lambUpdate[F rule.Float](p, m, v, invBias1, invSqrtBias2, eps, decay F) F {
	return F(invBias1*(m/(F(rule.Sqrt(v)*invSqrtBias2)+eps))) + F(decay*p)
}

// LAMBHyper are LAMB's hyperparameters. GradSum, NoBiasCorrection and Adapt are off when 0. With GradSum the whole gradient enters exp_avg.
type LAMBHyper struct {
	LR, Beta1, Beta2, Eps, WeightDecay, GradSum, NoBiasCorrection, Adapt float64
}

// LAMBCounters are what LAMB keeps for a group: the powers as running products, which every device computes alike.
type LAMBCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// LAMBPrologue computes the scalars of a step.
func LAMBPrologue(h *LAMBHyper, t *LAMBCounters, s *LAMBScalars[float64], o LAMBOptions) {
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	s.InvBias1, s.InvSqrtBias2 = 1, 1
	if h.NoBiasCorrection == 0 {
		s.InvBias1, s.InvSqrtBias2 = 1/(1-float64(t.Beta1Power)), 1/rule.Sqrt(1-float64(t.Beta2Power))
	}
	s.Beta1, s.GradShare = h.Beta1, 1-h.Beta1
	if h.GradSum != 0 {
		s.GradShare = 1
	}
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.LR, s.Eps, s.WeightDecay, s.Adapt = h.LR, h.Eps, h.WeightDecay, h.Adapt
}
