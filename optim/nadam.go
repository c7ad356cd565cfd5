package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
	"github.com/fusestep/fusestep/optim/internal/elementary"
)

// NAdam is NAdam as torch.optim.NAdam has it (Dozat 2016). Its state is exp_avg and exp_avg_sq.
//
// Start from DefaultNAdam: a value that does not is refused.
type NAdam struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; added to the root
	WeightDecay float64    // L2 penalty: weight_decay·p is added to the gradient; with Decoupled p is multiplied by 1 - lr·weight_decay
	// MomentumDecay is at least 0: the momentum of step t, from 1, is betas[0]·(1 - 0.96^(t·momentum_decay)/2). It is 1 in Keras; with
	// one of 1e6 the momentum is betas[0] from the first step on, as in optax.
	MomentumDecay float64
	Decoupled     bool `hyper:"decoupled_weight_decay"`
	Maximize      bool

	from fromDefault
}

// DefaultNAdam has torch.optim.NAdam's defaults.
func DefaultNAdam() NAdam {
	return NAdam{LR: 2e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, MomentumDecay: 4e-3, from: true}
}

// Setting implements Algorithm.
func (c NAdam) Setting() (rule.Setting, error) {
	r := c.from.ranges("nadam", "DefaultNAdam")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	r.atLeast0("momentum_decay", c.MomentumDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.NAdamHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps, MomentumFactor: elementary.Pow(0.96, c.MomentumDecay)}
	s := rules.NAdamRule().With(h, rules.NAdamOptions{})
	s.WeightDecay, s.DecoupledDecay = decay(c.WeightDecay, c.Decoupled)
	s.Maximize = c.Maximize
	return s, nil
}
