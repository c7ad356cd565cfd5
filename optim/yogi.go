package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Yogi is Yogi as optax.yogi has it (Zaheer et al. 2018); PyTorch has none. Its state is exp_avg and exp_avg_sq.
//
// Start from DefaultYogi: a value that does not is refused.
type Yogi struct {
	LR                 float64    // at least 0; the paper recommends more than Adam's
	Betas              [2]float64 // each at least 0 and below 1
	Eps                float64    // at least 0; added to the root
	InitialAccumulator float64    `hyper:"initial_accumulator_value"` // at least 0: what both moments start with, optax's initial_accumulator_value
	Maximize           bool

	from fromDefault
}

// DefaultYogi has optax.yogi's defaults, and the paper's learning rate.
func DefaultYogi() Yogi {
	return Yogi{LR: 1e-2, Betas: [2]float64{0.9, 0.999}, Eps: 1e-3, InitialAccumulator: 1e-6, from: true}
}

// Setting implements Algorithm.
func (c Yogi) Setting() (rule.Setting, error) {
	r := c.from.ranges("yogi", "DefaultYogi")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("initial_accumulator_value", c.InitialAccumulator)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.YogiRule().With(
		rules.YogiHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps, InitialAccumulator: c.InitialAccumulator},
		rules.YogiOptions{})
	s.Maximize = c.Maximize
	return s, nil
}
