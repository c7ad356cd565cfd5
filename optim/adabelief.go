package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// AdaBelief is AdaBelief as the authors' adabelief-pytorch has it with rectify=False (Zhuang et al. 2020); without decay it is
// also optax.adabelief with eps_root=eps. Its state is exp_avg and exp_avg_var, with AMSGrad also max_exp_avg_var.
//
// Start from DefaultAdaBelief: a value that does not is refused.
type AdaBelief struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; added to exp_avg_var, and to its root
	WeightDecay float64    // L2 penalty: weight_decay·p is added to the gradient; with Decoupled p is multiplied by 1 - lr·weight_decay
	Decoupled   bool
	AMSGrad     bool
	Maximize    bool

	from fromDefault
}

// DefaultAdaBelief has adabelief-pytorch's defaults, but for its rectification.
func DefaultAdaBelief() AdaBelief {
	return AdaBelief{LR: 1e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-16, Decoupled: true, from: true}
}

// Setting implements Algorithm.
func (c AdaBelief) Setting() (rule.Setting, error) {
	r := c.from.ranges("adabelief", "DefaultAdaBelief")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.AdaBeliefHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps}
	s := rules.AdaBeliefRule().With(h, rules.AdaBeliefOptions{AMSGrad: c.AMSGrad})
	s.WeightDecay, s.DecoupledDecay = decay(c.WeightDecay, c.Decoupled)
	s.Maximize = c.Maximize
	return s, nil
}
