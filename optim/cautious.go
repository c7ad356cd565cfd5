package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// CautiousAdamW is AdamW where an element moves only if exp_avg has the sign of its gradient (Liang et al. 2024), in the order of the authors'
// code. The steps of a tensor are divided by the share of its elements that move, or by 1e-3 if that is less. PyTorch has none. Its state is
// exp_avg and exp_avg_sq.
//
// Start from DefaultCautiousAdamW: a value that does not is refused.
type CautiousAdamW struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; added to the root
	WeightDecay float64    // decoupled: each step first multiplies p by 1 - lr·weight_decay, wherever it moves
	Maximize    bool

	from fromDefault
}

// DefaultCautiousAdamW has the authors' defaults.
func DefaultCautiousAdamW() CautiousAdamW {
	return CautiousAdamW{LR: 1e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-6, from: true}
}

// Setting implements Algorithm.
func (c CautiousAdamW) Setting() (rule.Setting, error) {
	r := c.from.ranges("cautiousadamw", "DefaultCautiousAdamW")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.CautiousAdamWRule().With(
		rules.CautiousAdamWHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps}, rules.CautiousAdamWOptions{})
	s.Maximize, s.DecoupledDecay = c.Maximize, c.WeightDecay
	return s, nil
}

// CautiousLion is Lion where an element moves only if its step has the sign of its gradient (Liang et al. 2024). The steps of a tensor are divided
// by the share of its elements that move, or by 1e-3 if that is less, as timm does and the authors' AdamW; their Lion divides by the
// number of those elements and one more. PyTorch has none. Its state is exp_avg.
//
// Start from DefaultCautiousLion: a value that does not is refused.
type CautiousLion struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1: of the step, and of the momentum that is kept
	WeightDecay float64    // decoupled: each step first multiplies p by 1 - lr·weight_decay, wherever it moves
	Maximize    bool

	from fromDefault
}

// DefaultCautiousLion has Lion's defaults.
func DefaultCautiousLion() CautiousLion {
	return CautiousLion{LR: 1e-4, Betas: [2]float64{0.9, 0.99}, from: true}
}

// Setting implements Algorithm.
func (c CautiousLion) Setting() (rule.Setting, error) {
	r := c.from.ranges("cautiouslion", "DefaultCautiousLion")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.CautiousLionRule().With(rules.CautiousLionHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1]}, rules.CautiousLionOptions{})
	s.Maximize, s.DecoupledDecay = c.Maximize, c.WeightDecay
	return s, nil
}
