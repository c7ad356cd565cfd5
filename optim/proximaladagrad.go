package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// ProximalAdagrad is Adagrad with penalties that are not differentiated but solved for (Duchi, Hazan & Singer 2011), as
// TensorFlow's ProximalAdagrad has it: with rate = lr/√accumulator, weights that the gradient's step leaves within ±rate·l1 of 0
// become exactly 0 and all others come nearer to it by as much, and are divided by 1 + rate·l2. Its state is accumulator.
//
// Start from DefaultProximalAdagrad: a value that does not is refused.
type ProximalAdagrad struct {
	LR                 float64 // at least 0
	InitialAccumulator float64 `hyper:"initial_accumulator_value"` // above 0: what accumulator starts with, TensorFlow's initial_accumulator_value
	L1                 float64 // at least 0: of the penalty l1·|p|
	L2                 float64 // at least 0: of the penalty l2·p²/2
	Maximize           bool

	from fromDefault
}

// DefaultProximalAdagrad has TensorFlow's defaults, and DefaultAdagrad's learning rate.
func DefaultProximalAdagrad() ProximalAdagrad {
	return ProximalAdagrad{LR: 1e-2, InitialAccumulator: 0.1, from: true}
}

// Setting implements Algorithm.
func (c ProximalAdagrad) Setting() (rule.Setting, error) {
	r := c.from.ranges("proximaladagrad", "DefaultProximalAdagrad")
	r.atLeast0("lr", c.LR)
	r.require("initial_accumulator_value", c.InitialAccumulator, c.InitialAccumulator > 0, "above 0, and finite")
	r.atLeast0("l1", c.L1)
	r.atLeast0("l2", c.L2)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.ProximalAdagradRule().With(
		rules.ProximalAdagradHyper{LR: c.LR, InitialAccumulator: c.InitialAccumulator, L1: c.L1, L2: c.L2},
		rules.ProximalAdagradOptions{ProximalL2: c.L2 != 0})
	s.Maximize = c.Maximize
	return s, nil
}
