package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Lion moves each element by the learning rate against the sign of an interpolated momentum (Chen et al. 2023). PyTorch has
// none; this is the authors' code's order. Its state is exp_avg, half of Adam's. A learning rate of a third to a tenth of
// Adam's, with as much more decay, is what the paper recommends.
//
// Start from DefaultLion: a value that does not is refused.
type Lion struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1: of the step, and of the momentum that is kept
	WeightDecay float64    // decoupled: each step first multiplies p by 1 - lr·weight_decay
	Maximize    bool

	from fromDefault
}

// DefaultLion has the authors' defaults.
func DefaultLion() Lion { return Lion{LR: 1e-4, Betas: [2]float64{0.9, 0.99}, from: true} }

// Setting implements Algorithm.
func (c Lion) Setting() (rule.Setting, error) {
	r := c.from.ranges("lion", "DefaultLion")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.LionRule().With(
		rules.LionHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1]}, rules.LionOptions{})
	s.Maximize, s.DecoupledDecay = c.Maximize, c.WeightDecay
	return s, nil
}
