package optim

import (
	"math"

	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Prodigy is Prodigy as the authors' package prodigyopt has it (Mishchenko & Defazio 2023): Adam that finds its learning rate by itself. PyTorch has
// none. The learning rate is multiplied by d, an estimate of the distance to the solution, so it stays 1, or is what a schedule makes of 1. Its state is exp_avg,
// exp_avg_sq, s, which is an average of gradients, and p0, the parameter before its first step. All tensors have d, d_max and d_numerator together: those of
// each tensor are the same three numbers. Before the first step they are 0, for D0, D0 and 0.
//
// So groups may differ in WeightDecay and Eps and in nothing else, all tensors have the same types of values, gradients and state, and with
// UseBiasCorrection they have taken the same steps: anything else is refused. A step with a learning rate of 0 moves nothing and estimates nothing. Where a
// process has shards of tensors, the numbers would be those of its shards.
//
// Start from DefaultProdigy: a value that does not is refused.
type Prodigy struct {
	LR                float64    // at least 0; it multiplies d
	Betas             [2]float64 // each at least 0 and below 1
	Beta3             float64    // of s and d_numerator, at least 0 and below 1; 0 is the root of the second of Betas
	Eps               float64    // above 0; d·eps is added to the root
	WeightDecay       float64    // p is multiplied by 1 - lr·d·weight_decay, or without Decouple weight_decay·p is added to the gradient
	D0                float64    // above 0: what d begins with
	DCoef             float64    // above 0; it multiplies what d is estimated to be
	GrowthRate        float64    // at least 1: a step multiplies d by so much at most; 0 is without a limit
	Decouple          bool       // how WeightDecay decays
	UseBiasCorrection bool       // the learning rate is multiplied by Adam's corrections
	SafeguardWarmup   bool       // s is made without the learning rate, for schedules that begin with a small one
	Maximize          bool

	from fromDefault
}

// DefaultProdigy has prodigyopt's defaults.
func DefaultProdigy() Prodigy {
	return Prodigy{LR: 1, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, D0: 1e-6, DCoef: 1, Decouple: true, from: true}
}

// Setting implements Algorithm.
func (c Prodigy) Setting() (rule.Setting, error) {
	r := c.from.ranges("prodigy", "DefaultProdigy")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.beta("beta3", c.Beta3)
	r.require("eps", c.Eps, c.Eps > 0, "above 0, and finite")
	r.atLeast0("weight_decay", c.WeightDecay)
	r.require("d0", c.D0, c.D0 > 0, "above 0, and finite")
	r.require("d_coef", c.DCoef, c.DCoef > 0, "above 0, and finite")
	r.require("growth_rate", c.GrowthRate, c.GrowthRate == 0 || c.GrowthRate >= 1, "at least 1, and finite, or 0 for no limit")
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.ProdigyHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Beta3: c.Beta3, Eps: c.Eps, D0: c.D0, DCoef: c.DCoef, GrowthRate: c.GrowthRate,
		BiasCorrection: flag(c.UseBiasCorrection), Safeguard: flag(c.SafeguardWarmup)}
	if c.Beta3 == 0 {
		h.Beta3 = math.Sqrt(c.Betas[1])
	}
	var coupled float64
	coupled, h.WeightDecay = decay(c.WeightDecay, c.Decouple)
	s := rules.ProdigyRule().With(h, rules.ProdigyOptions{})
	s.WeightDecay, s.Maximize = coupled, c.Maximize
	return s, nil
}
