package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Adamax is Adamax as torch.optim.Adamax has it (Kingma & Ba 2015, algorithm 2). Its state is exp_avg and exp_inf.
//
// Start from DefaultAdamax: a value that does not is refused.
type Adamax struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; added to |g|
	WeightDecay float64    // L2 penalty: weight_decay·p is added to the gradient; with Decoupled p is multiplied by 1 - lr·weight_decay
	Decoupled   bool
	EpsOutside  bool // eps is added to exp_inf where it divides, as Keras does, not to |g|
	Maximize    bool

	from fromDefault
}

// DefaultAdamax has torch.optim.Adamax's defaults.
func DefaultAdamax() Adamax {
	return Adamax{LR: 2e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, from: true}
}

// Setting implements Algorithm.
func (c Adamax) Setting() (rule.Setting, error) {
	r := c.from.ranges("adamax", "DefaultAdamax")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.AdamaxHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps}
	if c.EpsOutside {
		h.Eps, h.EpsOutside = 0, c.Eps
	}
	s := rules.AdamaxRule().With(h, rules.AdamaxOptions{})
	s.WeightDecay, s.DecoupledDecay = decay(c.WeightDecay, c.Decoupled)
	s.Maximize = c.Maximize
	return s, nil
}
