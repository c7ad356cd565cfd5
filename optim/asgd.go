package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// ASGD is averaged stochastic gradient descent as torch.optim.ASGD has it (Polyak & Juditsky 1992). Its state is ax, the average of
// the parameter's values, which is what training is for: evaluate the model on it. Until T0 steps are taken it is the parameter.
//
// Start from DefaultASGD: a value that does not is refused.
type ASGD struct {
	LR          float64 // at least 0
	Lambd       float64 // at least 0: a step multiplies p by 1 - lambd·eta, eta being its learning rate
	Alpha       float64 // at least 0 and below 16: eta falls as lr/(1 + lambd·lr·t)^alpha, t being the steps taken
	T0          float64 // the steps after which averaging starts
	WeightDecay float64 // L2 penalty: weight_decay·p is added to the gradient
	Maximize    bool

	from fromDefault
}

// DefaultASGD has torch.optim.ASGD's defaults.
func DefaultASGD() ASGD { return ASGD{LR: 1e-2, Lambd: 1e-4, Alpha: 0.75, T0: 1e6, from: true} }

// Setting implements Algorithm.
func (c ASGD) Setting() (rule.Setting, error) {
	r := c.from.ranges("asgd", "DefaultASGD")
	r.atLeast0("lr", c.LR)
	r.atLeast0("lambd", c.Lambd)
	r.require("alpha", c.Alpha, c.Alpha >= 0 && c.Alpha < 16, "at least 0 and below 16")
	r.require("t0", c.T0, true, "finite")
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.ASGDRule().With(
		rules.ASGDHyper{LR: c.LR, Lambd: c.Lambd, Alpha: c.Alpha, T0: c.T0}, rules.ASGDOptions{})
	s.Maximize, s.WeightDecay = c.Maximize, c.WeightDecay
	return s, nil
}
