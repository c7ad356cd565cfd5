package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// StableAdamW is AdamW with Adafactor's update clipping, as its paper and optimi have it (Wortsman et al. 2023): in each step a tensor's learning
// rate is divided by the root of the mean of g² / max(exp_avg_sq, eps²), where that is above 1. PyTorch has none. Its state is exp_avg and
// exp_avg_sq. They have no bias, as the betas of the first steps are smaller, (β-β^t)/(1-β^t).
//
// Start from DefaultStableAdamW: a value that does not is refused.
type StableAdamW struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; added to the root
	WeightDecay float64    // decoupled: each step first multiplies p by 1 - lr·weight_decay, with the tensor's lr
	Maximize    bool

	from fromDefault
}

// DefaultStableAdamW has optimi's defaults, and AdamW's learning rate.
func DefaultStableAdamW() StableAdamW {
	return StableAdamW{LR: 1e-3, Betas: [2]float64{0.9, 0.99}, Eps: 1e-6, WeightDecay: 1e-2, from: true}
}

// Setting implements Algorithm.
func (c StableAdamW) Setting() (rule.Setting, error) {
	r := c.from.ranges("stableadamw", "DefaultStableAdamW")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.StableAdamWRule().With(
		rules.StableAdamWHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps, WeightDecay: c.WeightDecay}, rules.StableAdamWOptions{})
	s.Maximize = c.Maximize
	return s, nil
}
