package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Adan is Adan as the authors' code has it (Xie et al. 2022); PyTorch has none. Its state is exp_avg, exp_avg_diff, exp_avg_sq and
// neg_pre_grad, the last gradient's negative. The paper's betas are 1 - these. Optax.adan is another algorithm: it gives the
// differences a weight of 1 - betas[1] where paper and authors give them betas[1].
//
// Start from DefaultAdan: a value that does not is refused.
type Adan struct {
	LR          float64    // at least 0
	Betas       [3]float64 // each at least 0 and below 1: of the gradients, of their differences, and of the squares
	Eps         float64    // at least 0; added to the root
	WeightDecay float64    // proximal: p is divided by 1 + lr·weight_decay after the step; with NoProx as AdamW's
	NoProx      bool       // p is multiplied by 1 - lr·weight_decay before the step instead
	Maximize    bool

	from fromDefault
}

// DefaultAdan has the authors' defaults.
func DefaultAdan() Adan {
	return Adan{LR: 1e-3, Betas: [3]float64{0.98, 0.92, 0.99}, Eps: 1e-8, from: true}
}

// Setting implements Algorithm.
func (c Adan) Setting() (rule.Setting, error) {
	r := c.from.ranges("adan", "DefaultAdan")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.beta("betas[2]", c.Betas[2])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.AdanHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Beta3: c.Betas[2], Eps: c.Eps}
	var decoupled float64
	h.ProximalDecay, decoupled = decay(c.WeightDecay, c.NoProx)
	s := rules.AdanRule().With(h, rules.AdanOptions{})
	s.Maximize, s.DecoupledDecay = c.Maximize, decoupled
	return s, nil
}
