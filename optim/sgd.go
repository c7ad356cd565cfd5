package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// SGD is stochastic gradient descent as torch.optim.SGD has it; over the whole batch it is gradient descent. Its state is
// momentum_buffer, with a Momentum other than 0.
//
// Start from DefaultSGD: a value that does not is refused.
type SGD struct {
	LR          float64 // at least 0
	Momentum    float64 // at least 0
	Dampening   float64 // the share of a gradient that the momentum does not take; the first gradient enters whole
	Nesterov    bool    // needs Momentum above 0 and no Dampening
	WeightDecay float64 // L2 penalty: weight_decay·p is added to the gradient; with Decoupled p is multiplied by 1 - lr·weight_decay
	Decoupled   bool
	L1          float64 // L1 penalty: l1·sign(p) is added to the gradient, 0 where p is 0
	Maximize    bool

	// LRInMomentum lets the momentum accumulate steps, gradients times learning rates, as Keras and scikit-learn do (Sutskever et
	// al. 2013), not gradients: after a change of the learning rate the old steps keep their length.
	LRInMomentum bool

	from fromDefault
}

// DefaultSGD has torch.optim.SGD's defaults.
func DefaultSGD() SGD { return SGD{LR: 1e-3, from: true} }

// Setting implements Algorithm.
func (c SGD) Setting() (rule.Setting, error) {
	return c.setting(c.from.ranges("sgd", "DefaultSGD"), c.Momentum != 0)
}

func (c SGD) setting(r ranges, momentum bool) (rule.Setting, error) {
	r.atLeast0("lr", c.LR)
	r.atLeast0("momentum", c.Momentum)
	r.require("dampening", c.Dampening, true, "finite")
	r.atLeast0("weight_decay", c.WeightDecay)
	r.atLeast0("l1", c.L1)
	if c.Nesterov {
		r.require("momentum", c.Momentum, c.Momentum > 0, "above 0 with nesterov")
		r.require("dampening", c.Dampening, c.Dampening == 0, "0 with nesterov")
	}
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.SGDHyper{LR: c.LR, Momentum: c.Momentum, Dampening: c.Dampening, LRInMomentum: flag(c.LRInMomentum)}
	s := rules.SGDRule().With(h, rules.SGDOptions{Momentum: momentum, Nesterov: c.Nesterov})
	s.Name, s.Maximize, s.L1 = r.algorithm, c.Maximize, c.L1
	s.WeightDecay, s.DecoupledDecay = decay(c.WeightDecay, c.Decoupled)
	return s, nil
}
