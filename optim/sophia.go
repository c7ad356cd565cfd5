package optim

import (
	"math"

	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Sophia divides a momentum by an estimate of the Hessian's diagonal, and clips the quotient (Liu et al. 2023, algorithm 3). Its
// state is exp_avg, and hessian, which a step only reads: what estimates the diagonal, every k steps, writes it to
// State(name, "hessian"). Until then, and where it is not positive, the divisor is eps, and a step is nearly always the clipped
// one.
//
// The estimates come from the model, not from this package, and so does what becomes of them. The paper averages them, hessian =
// β2·hessian + (1-β2)·estimate. That is a step down half the square of their difference, so an optimizer of its own
// makes it, on any device: SGD with an LR of 1 - β2, a WeightDecay of 1 and Maximize, with hessian as its Param's Value and the estimate
// as its Grad.
//
// Start from DefaultSophia: a value that does not is refused.
type Sophia struct {
	LR             float64 // at least 0
	Beta1          float64 // of the momentum: at least 0 and below 1
	Gamma          float64 // at least 0; multiplies hessian
	Eps            float64 // above 0: the least divisor
	ClipThreshold  float64 // at least 0: the most that a quotient may be, either way; 0 clips nothing
	WeightDecay    float64 // decoupled: each step first multiplies p by 1 - lr·weight_decay
	BiasCorrection bool    // divides the momentum by 1 - beta1^t, as optax does and the paper does not
	Maximize       bool

	from fromDefault
}

// DefaultSophia has optax.contrib.sophia's defaults, and DefaultLion's learning rate, as optax has none.
func DefaultSophia() Sophia {
	return Sophia{LR: 1e-4, Beta1: 0.965, Gamma: 0.01, Eps: 1e-8, ClipThreshold: 1, WeightDecay: 1e-4, BiasCorrection: true, from: true}
}

// Setting implements Algorithm.
func (c Sophia) Setting() (rule.Setting, error) {
	r := c.from.ranges("sophia", "DefaultSophia")
	r.atLeast0("lr", c.LR)
	r.beta("beta1", c.Beta1)
	r.atLeast0("gamma", c.Gamma)
	r.require("eps", c.Eps, c.Eps > 0, "above 0, and finite")
	r.atLeast0("clip_threshold", c.ClipThreshold)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.SophiaHyper{LR: c.LR, Beta1: c.Beta1, Gamma: c.Gamma, Eps: c.Eps, Clip: c.ClipThreshold}
	if c.BiasCorrection {
		h.BiasBeta1 = c.Beta1
	}
	if c.ClipThreshold == 0 {
		h.Clip = math.Inf(1)
	}
	s := rules.SophiaRule().With(h, rules.SophiaOptions{})
	s.Maximize, s.DecoupledDecay = c.Maximize, c.WeightDecay
	return s, nil
}
