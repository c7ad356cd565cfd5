package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// NovoGrad is NovoGrad as apex' FusedNovoGrad has it (Ginsburg et al. 2019): Adam whose second moment is one number for each tensor, the
// average of the gradient's squared norm. It starts as the first one. PyTorch has none. Its state is exp_avg, and exp_avg_sq, a float64 for
// each tensor. Apex keeps its root.
//
// Start from DefaultNovoGrad: a value that does not is refused.
type NovoGrad struct {
	LR          float64    // at least 0
	Betas       [2]float64 // each at least 0 and below 1
	Eps         float64    // at least 0; added to the root
	WeightDecay float64    // decoupled: p is multiplied by 1 - lr·weight_decay; with RegInsideMoment weight_decay·p enters exp_avg
	Maximize    bool

	// RegInsideMoment divides the gradient by the root of exp_avg_sq, and adds the weight decay, before both enter exp_avg, as the paper and optax
	// do. Else exp_avg is of gradients, and is divided.
	RegInsideMoment bool
	// GradSum lets the whole gradient enter exp_avg, and not 1-β1 of it, as the paper and optax do: apex' grad_averaging=False.
	GradSum bool
	// InitZero starts exp_avg_sq at 0: apex' init_zero.
	InitZero bool
	// NoBiasCorrection takes the moments as they are, as the paper and optax do: apex' bias_correction=False.
	NoBiasCorrection bool

	from fromDefault
}

// DefaultNovoGrad has apex' defaults.
func DefaultNovoGrad() NovoGrad {
	return NovoGrad{LR: 1e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, from: true}
}

// Setting implements Algorithm.
func (c NovoGrad) Setting() (rule.Setting, error) {
	r := c.from.ranges("novograd", "DefaultNovoGrad")
	r.atLeast0("lr", c.LR)
	r.beta("betas[0]", c.Betas[0])
	r.beta("betas[1]", c.Betas[1])
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.NovoGradHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps, Inside: flag(c.RegInsideMoment), GradSum: flag(c.GradSum),
		NoBiasCorrection: flag(c.NoBiasCorrection), InitZero: flag(c.InitZero)}
	var decoupled float64
	h.WeightDecay, decoupled = decay(c.WeightDecay, !c.RegInsideMoment)
	s := rules.NovoGradRule().With(h, rules.NovoGradOptions{})
	s.DecoupledDecay, s.Maximize = decoupled, c.Maximize
	return s, nil
}
