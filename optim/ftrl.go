package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// FTRL is FTRL-Proximal (McMahan et al. 2013, algorithm 1) as keras.optimizers.Ftrl has it, with the paper's rate, which falls
// with the root of the sum of squared gradients (learning_rate_power -0.5). Its state is accumulator and linear.
//
// The two of them make the parameter anew at each step: with L1 it is exactly 0 where linear is within ±l1, and what it was
// before the first step is forgotten. Linear adds up gradients in units of the learning rate: one that changes rescales
// what was learned. A step of learning rate 0 changes nothing.
//
// Start from DefaultFTRL: a value that does not is refused.
type FTRL struct {
	LR                 float64 // at least 0; the paper's α
	InitialAccumulator float64 `hyper:"initial_accumulator_value"` // at least 0: what accumulator starts with, Keras' initial_accumulator_value
	L1                 float64 // at least 0: λ1, Keras' l1_regularization_strength
	L2                 float64 // at least 0: half of the paper's λ2, Keras' l2_regularization_strength
	L2Shrinkage        float64 // at least 0: 2·l2_shrinkage·p is added to the gradient, but not to its square
	Beta               float64 // at least 0: the paper's β, added to the root
	Maximize           bool

	from fromDefault
}

// DefaultFTRL has keras.optimizers.Ftrl's defaults.
func DefaultFTRL() FTRL { return FTRL{LR: 1e-3, InitialAccumulator: 0.1, from: true} }

// Setting implements Algorithm.
func (c FTRL) Setting() (rule.Setting, error) {
	r := c.from.ranges("ftrl", "DefaultFTRL")
	r.atLeast0("lr", c.LR)
	r.atLeast0("initial_accumulator_value", c.InitialAccumulator)
	r.atLeast0("l1", c.L1)
	r.atLeast0("l2", c.L2)
	r.atLeast0("l2_shrinkage", c.L2Shrinkage)
	r.atLeast0("beta", c.Beta)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.FTRLRule().With(
		rules.FTRLHyper{LR: c.LR, InitialAccumulator: c.InitialAccumulator, L1: c.L1, L2: c.L2, L2Shrinkage: c.L2Shrinkage, Beta: c.Beta},
		rules.FTRLOptions{})
	s.Maximize = c.Maximize
	return s, nil
}
