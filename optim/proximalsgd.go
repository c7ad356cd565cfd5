package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// ProximalSGD is stochastic gradient descent with penalties that are not differentiated but solved for (Duchi & Singer 2009), as
// TensorFlow's ProximalGradientDescent has it: the gradient's step, then weights within ±lr·l1 of 0 become exactly 0 and
// all others come nearer to it by as much, and are divided by 1 + lr·l2. It has no state.
//
// Start from DefaultProximalSGD: a value that does not is refused.
type ProximalSGD struct {
	LR       float64 // at least 0
	L1       float64 // at least 0: of the penalty l1·|p|
	L2       float64 // at least 0: of the penalty l2·p²/2
	Maximize bool

	from fromDefault
}

// DefaultProximalSGD has TensorFlow's defaults, which are no penalties, and DefaultSGD's learning rate.
func DefaultProximalSGD() ProximalSGD { return ProximalSGD{LR: 1e-3, from: true} }

// Setting implements Algorithm.
func (c ProximalSGD) Setting() (rule.Setting, error) {
	r := c.from.ranges("proximalsgd", "DefaultProximalSGD")
	r.atLeast0("lr", c.LR)
	r.atLeast0("l1", c.L1)
	r.atLeast0("l2", c.L2)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.ProximalSGDRule().With(rules.ProximalSGDHyper{LR: c.LR, L1: c.L1, L2: c.L2}, rules.ProximalSGDOptions{})
	s.Maximize = c.Maximize
	return s, nil
}
