package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// RAdam is RAdam as torch.optim.RAdam has it (Liu et al. 2020). Its state is exp_avg and exp_avg_sq.
//
// Start from DefaultRAdam: a value that does not is refused.
type RAdam struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; added to the root
	WeightDecay float64    // L2 penalty: weight_decay·p is added to the gradient; with Decoupled p is multiplied by 1 - lr·weight_decay
	Decoupled   bool       `hyper:"decoupled_weight_decay"`
	// CorrectedEps adds eps to the root after its bias correction, as optax.radam does, not before, as PyTorch does.
	CorrectedEps bool
	Maximize     bool

	from fromDefault
}

// DefaultRAdam has torch.optim.RAdam's defaults.
func DefaultRAdam() RAdam {
	return RAdam{LR: 1e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, from: true}
}

// Setting implements Algorithm.
func (c RAdam) Setting() (rule.Setting, error) {
	r := c.from.ranges("radam", "DefaultRAdam")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.RAdamHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps, CorrectedEps: flag(c.CorrectedEps)}
	s := rules.RAdamRule().With(h, rules.RAdamOptions{})
	s.WeightDecay, s.DecoupledDecay = decay(c.WeightDecay, c.Decoupled)
	s.Maximize = c.Maximize
	return s, nil
}
