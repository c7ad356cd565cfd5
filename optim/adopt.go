package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// ADOPT is ADOPT as its authors' code has it (Taniguchi et al. 2024): Adam whose gradients are divided by the root of the squares
// before them, so that it converges with any beta2. PyTorch has none. Its state is exp_avg and exp_avg_sq. The first step fills
// exp_avg_sq and trains nothing. In step t+1 the quotient is clipped to ±t^¼.
//
// Start from DefaultADOPT: a value that does not is refused.
type ADOPT struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; the least divisor
	WeightDecay float64    // L2 penalty: weight_decay·p is added to the gradient
	Decoupled   bool       // p is multiplied by 1 - lr·weight_decay instead, in each step but the first
	Maximize    bool

	from fromDefault
}

// DefaultADOPT has the authors' defaults.
func DefaultADOPT() ADOPT {
	return ADOPT{LR: 1e-3, Betas: [2]float64{0.9, 0.9999}, Eps: 1e-6, from: true}
}

// Setting implements Algorithm.
func (c ADOPT) Setting() (rule.Setting, error) {
	r := c.from.ranges("adopt", "DefaultADOPT")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.ADOPTHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps}
	var coupled float64
	coupled, h.DecoupledDecay = decay(c.WeightDecay, c.Decoupled)
	s := rules.ADOPTRule().With(h, rules.ADOPTOptions{})
	s.WeightDecay, s.Maximize = coupled, c.Maximize
	return s, nil
}
