package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// CAME is CAME as its authors' code has it (Luo et al. 2023): Adafactor whose averaged update is divided by how far updates are from it. PyTorch has
// none. Its state is exp_avg and, of a tensor with a matrix view, which Param.Shape and Param.Rows say, exp_avg_sq_row, exp_avg_sq_col,
// exp_avg_res_row and exp_avg_res_col; of any other exp_avg_sq, and no residuals.
//
// Start from DefaultCAME: a value that does not is refused.
type CAME struct {
	LR            float64    // at least 0
	Betas         [3]float64 // each at least 0 and below 1: of the update, of squares, of residuals
	Eps           [2]float64 // above 0; added to squares of gradients, and of residuals
	ClipThreshold float64    // above 0; the update is clipped to this root mean square
	WeightDecay   float64    // decoupled: p is multiplied by 1 - lr·weight_decay
	Maximize      bool

	from fromDefault
}

// DefaultCAME has the authors' defaults, with the learning rate of their README's example, as there is no default.
func DefaultCAME() CAME {
	return CAME{LR: 2e-4, Betas: [3]float64{0.9, 0.999, 0.9999}, Eps: [2]float64{1e-30, 1e-16}, ClipThreshold: 1, from: true}
}

// Setting implements Algorithm.
func (c CAME) Setting() (rule.Setting, error) {
	r := c.from.ranges("came", "DefaultCAME")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.beta("betas[2]", c.Betas[2])
	r.require("eps[0]", c.Eps[0], c.Eps[0] > 0, "above 0")
	r.require("eps[1]", c.Eps[1], c.Eps[1] > 0, "above 0")
	r.require("clip_threshold", c.ClipThreshold, c.ClipThreshold > 0, "above 0")
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.CAMEHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Beta3: c.Betas[2], Eps1: c.Eps[0], Eps2: c.Eps[1], Clip: c.ClipThreshold}
	s := rules.CAMERule().With(h, rules.CAMEOptions{})
	s.DecoupledDecay, s.Maximize = c.WeightDecay, c.Maximize
	return s, nil
}
