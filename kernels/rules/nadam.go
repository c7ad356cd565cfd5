package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed nadam.go
var nadamSource string

// NAdamRule is NAdam.
var NAdamRule = define(NAdam[float32], NAdam[float64], NAdamPrologue, nadamSource)

// NAdamElem is one element of a parameter under NAdam.
type NAdamElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"exp_avg"`
	V F `slot:"exp_avg_sq"`
}

// NAdamScalars are what NAdam's prologue computes.
type NAdamScalars[F rule.Float] struct {
	Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, GradStep, MomentStep, InvSqrtBias2, Eps F
}

// NAdamOptions is empty.
type NAdamOptions struct{}

// NAdam: Dozat 2016, algorithm 2, with PyTorch's schedule of the momentum, μ(t) = β1·(1 - 0.96^(t·ψ)/2). PyTorch divides the
// gradient's and the moment's share by the same denominator; here their sum is divided, once.
func NAdam[F rule.Float](e *NAdamElem[F], s *NAdamScalars[F], o NAdamOptions) {
	g := e.G
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*g))
	v := rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*g)*g), rule.Abs(m)+rule.Abs(g))
	e.M, e.V = m, v
	e.P -= (F(s.GradStep*g) + F(s.MomentStep*m)) / (F(rule.Sqrt(v)*s.InvSqrtBias2) + s.Eps)
}

// NAdamHyper are NAdam's hyperparameters. MomentumFactor is 0.96^ψ, ψ being the momentum's decay.
type NAdamHyper struct{ LR, Beta1, Beta2, Eps, MomentumFactor float64 }

// NAdamCounters are what NAdam keeps for a group: the powers as running products, which every device computes alike.
type NAdamCounters struct {
	Step          float64 `counter:"step"`
	Beta2Power    float64 `counter:"beta2_power" init:"1"`
	MomentumPower float64 `counter:"momentum_power" init:"1"`
	MuProduct     float64 `counter:"mu_product" init:"1"`
}

// NAdamPrologue computes the scalars of a step.
func NAdamPrologue(h *NAdamHyper, t *NAdamCounters, s *NAdamScalars[float64], o NAdamOptions) {
	t.Step += 1
	t.Beta2Power *= h.Beta2
	t.MomentumPower *= h.MomentumFactor
	next := float64(t.MomentumPower * h.MomentumFactor)
	mu := float64(h.Beta1 * (1 - float64(0.5*t.MomentumPower)))
	muNext := float64(h.Beta1 * (1 - float64(0.5*next)))
	t.MuProduct *= mu
	s.Eps = h.Eps
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.GradStep = h.LR * (1 - mu) / (1 - float64(t.MuProduct))
	s.MomentStep = h.LR * muNext / (1 - float64(t.MuProduct*muNext))
	s.InvSqrtBias2 = 1 / rule.Sqrt(1-float64(t.Beta2Power))
}
