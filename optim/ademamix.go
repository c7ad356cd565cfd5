package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
	"github.com/fusestep/fusestep/optim/internal/elementary"
)

// AdEMAMix is AdEMAMix as its paper and the authors' code have it (Pagliardini et al. 2024); PyTorch has none. Its state is
// exp_avg_fast, exp_avg_slow and exp_avg_sq. The paper warms both up over all of a training's steps.
//
// Start from DefaultAdEMAMix: a value that does not is refused.
type AdEMAMix struct {
	LR          float64    // at least 0
	Betas       [3]float64 // each at least 0 and below 1: of the fast average, of the squares, of the slow average
	Alpha       float64    // at least 0: the slow average's weight beside the fast one's
	AlphaWarmup int        // the steps in which alpha rises from 0, linearly; 0 for none
	Beta3Warmup int        // the steps in which betas[2] rises from betas[0], which is above 0 then, and at most betas[2]; 0 for none
	Eps         float64    // at least 0; added to the root
	WeightDecay float64    // decoupled: each step first multiplies p by 1 - lr·weight_decay
	Maximize    bool

	from fromDefault
}

// DefaultAdEMAMix has the defaults of the authors' code, which has no warm-ups.
func DefaultAdEMAMix() AdEMAMix {
	return AdEMAMix{LR: 1e-3, Betas: [3]float64{0.9, 0.999, 0.9999}, Alpha: 2, Eps: 1e-8, from: true}
}

// Setting implements Algorithm.
func (c AdEMAMix) Setting() (rule.Setting, error) {
	r := c.from.ranges("ademamix", "DefaultAdEMAMix")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.beta("betas[2]", c.Betas[2])
	r.atLeast0("alpha", c.Alpha)
	r.atLeast0("alpha_warmup", float64(c.AlphaWarmup))
	r.atLeast0("beta3_warmup", float64(c.Beta3Warmup))
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	h := rules.AdEMAMixHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Beta3: c.Betas[2], Alpha: c.Alpha, Eps: c.Eps,
		AlphaWarmup: float64(c.AlphaWarmup), Beta3Warmup: float64(c.Beta3Warmup)}
	if c.Beta3Warmup > 0 {
		r.require("betas[0]", c.Betas[0], c.Betas[0] > 0, "above 0 with beta3_warmup")
		r.require("betas[2]", c.Betas[2], c.Betas[2] >= c.Betas[0], "at least betas[0] with beta3_warmup")
		h.LogRatio = elementary.LogRatio(c.Betas[0], c.Betas[2])
	}
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.AdEMAMixRule().With(h, rules.AdEMAMixOptions{})
	s.Maximize, s.DecoupledDecay = c.Maximize, c.WeightDecay
	return s, nil
}
