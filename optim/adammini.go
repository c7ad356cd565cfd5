package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// AdamMini is Adam-mini as its authors' code has it (Zhang et al. 2024): AdamW with one second moment for each block of a tensor. The blocks are the
// rows of the matrix view, which Param.Rows and Param.Shape say. So of the authors' blocks the heads of a query or a key are as many Rows, a tensor
// that is one block is 1 of them, and an embedding or an output layer, each of whose elements has its own second moment, has no matrix view. PyTorch
// has none. Its state is exp_avg, and vmean, or exp_avg_sq of a tensor without rows.
//
// Start from DefaultAdamMini: a value that does not is refused.
type AdamMini struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; added to the root
	WeightDecay float64    // decoupled: p is multiplied by 1 - lr·weight_decay
	Maximize    bool

	from fromDefault
}

// DefaultAdamMini has the authors' defaults.
func DefaultAdamMini() AdamMini {
	return AdamMini{LR: 1e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, from: true}
}

// Setting implements Algorithm.
func (c AdamMini) Setting() (rule.Setting, error) {
	r := c.from.ranges("adammini", "DefaultAdamMini")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.AdamMiniRule().With(rules.AdamMiniHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps}, rules.AdamMiniOptions{})
	s.DecoupledDecay, s.Maximize = c.WeightDecay, c.Maximize
	return s, nil
}
