package rules

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed adabelief.go
var adabeliefSource string

// AdaBeliefRule is AdaBelief.
var AdaBeliefRule = define(AdaBelief[float32], AdaBelief[float64], AdaBeliefPrologue, adabeliefSource)

// AdaBeliefElem is one element of a parameter under AdaBelief.
type AdaBeliefElem[F rule.Float] struct {
	P    F `slot:"param"`
	G    F `slot:"grad"`
	M    F `slot:"exp_avg"`
	V    F `slot:"exp_avg_var"`
	VMax F `slot:"max_exp_avg_var"`
}

// AdaBeliefScalars are what AdaBelief's prologue computes.
type AdaBeliefScalars[F rule.Float] struct {
	Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, StepSize, InvSqrtBias2, Eps F
}

// AdaBeliefOptions says which terms AdaBelief has.
type AdaBeliefOptions struct{ AMSGrad bool }

// AdaBelief: Zhuang et al. 2020, algorithm 2, in the order of the authors' code, without its rectification: Adam that divides by
// the gradient's deviation from its own average. Eps enters twice, into exp_avg_var, where it adds up from step to step, and
// beside the root. Bias corrections are scalars, as in Adam.
func AdaBelief[F rule.Float](e *AdaBeliefElem[F], s *AdaBeliefScalars[F], o AdaBeliefOptions) {
	g := e.G
	m := rule.Flush(F(s.Beta1*e.M) + F(s.OneMinusBeta1*g))
	residual := g - m
	v := rule.FlushWith(F(s.Beta2*e.V)+F(F(s.OneMinusBeta2*residual)*residual)+s.Eps, m)
	d := v
	if o.AMSGrad {
		d = rule.FlushWith(rule.Max(e.VMax, v), m)
		e.VMax = d
	}
	e.P -= F(s.StepSize * (m / (F(rule.Sqrt(d)*s.InvSqrtBias2) + s.Eps)))
	e.M, e.V = m, v
}

// AdaBeliefHyper are AdaBelief's hyperparameters.
type AdaBeliefHyper struct{ LR, Beta1, Beta2, Eps float64 }

// AdaBeliefCounters are what AdaBelief keeps for a group: the powers as running products, which every device computes alike.
type AdaBeliefCounters struct {
	Step       float64 `counter:"step"`
	Beta1Power float64 `counter:"beta1_power" init:"1"`
	Beta2Power float64 `counter:"beta2_power" init:"1"`
}

// AdaBeliefPrologue computes the scalars of a step.
func AdaBeliefPrologue(h *AdaBeliefHyper, t *AdaBeliefCounters, s *AdaBeliefScalars[float64], o AdaBeliefOptions) {
	t.Step += 1
	t.Beta1Power *= h.Beta1
	t.Beta2Power *= h.Beta2
	s.Eps = h.Eps
	s.Beta1, s.OneMinusBeta1 = h.Beta1, 1-h.Beta1
	s.Beta2, s.OneMinusBeta2 = h.Beta2, 1-h.Beta2
	s.StepSize = h.LR / (1 - float64(t.Beta1Power))
	s.InvSqrtBias2 = 1 / rule.Sqrt(1-float64(t.Beta2Power))
}
