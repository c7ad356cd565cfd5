package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// LAMB is LAMB as apex' FusedLAMB has it (You et al. 2020): Adam whose steps of a tensor are as long as the learning rate times the tensor's
// norm. PyTorch has none. Its state is exp_avg and exp_avg_sq.
//
// Apex clips the gradients' global norm to 1 by default. That is Optimizer.SetClipNorm here, which has PyTorch's 1e-6 beside the norm.
//
// Start from DefaultLAMB: a value that does not is refused.
type LAMB struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; added to the root
	WeightDecay float64    // weight_decay·p is added to the step, whose norm is then taken; 0 turns the norms off, too, but with NVLAMB
	Maximize    bool

	// L2 adds weight_decay·p to the gradient instead: apex' adam_w_mode=False.
	L2 bool
	// NVLAMB takes norms without weight decay, too: apex' use_nvlamb. Optax and Keras do so.
	NVLAMB bool `hyper:"nvlamb"`
	// GradSum lets the whole gradient enter exp_avg, and not 1-β1 of it: apex' grad_averaging=False.
	GradSum bool
	// NoBiasCorrection takes the moments as they are: apex' bias_correction=False.
	NoBiasCorrection bool

	from fromDefault
}

// DefaultLAMB has apex' defaults.
func DefaultLAMB() LAMB {
	return LAMB{LR: 1e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-6, WeightDecay: 1e-2, from: true}
}

// Setting implements Algorithm.
func (c LAMB) Setting() (rule.Setting, error) {
	r := c.from.ranges("lamb", "DefaultLAMB")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.LAMBHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps, GradSum: flag(c.GradSum), NoBiasCorrection: flag(c.NoBiasCorrection),
		Adapt: flag(c.NVLAMB || c.WeightDecay != 0)}
	var l2 float64
	l2, h.WeightDecay = decay(c.WeightDecay, !c.L2)
	s := rules.LAMBRule().With(h, rules.LAMBOptions{})
	s.WeightDecay, s.Maximize = l2, c.Maximize
	return s, nil
}
