package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// RMSprop is RMSprop as torch.optim.RMSprop has it (Tieleman & Hinton 2012). Its state is square_avg, with Centered also
// grad_avg, with a Momentum other than 0 momentum_buffer.
//
// Start from DefaultRMSprop: a value that does not is refused.
type RMSprop struct {
	LR          float64 // at least 0
	Alpha       float64 // at least 0: how slowly the mean square forgets
	Eps         float64 // at least 0; added to the root
	WeightDecay float64 // L2 penalty: weight_decay·p is added to the gradient; with Decoupled p is multiplied by 1 - lr·weight_decay
	Decoupled   bool
	Momentum    float64 // at least 0
	Centered    bool    // divides by the standard deviation instead of the root mean square (Graves 2013)
	Maximize    bool

	// What other libraries do otherwise (docs/coming-from.md).

	EpsRoot float64 // at least 0; added below the root: Keras' epsilon, and optax's eps with eps_in_sqrt, both with an Eps of 0
	// LRInMomentum lets the momentum accumulate steps, gradients times learning rates, as Keras and optax do: after a
	// change of the learning rate the old steps keep their length.
	LRInMomentum bool
	InitialScale float64 // at least 0: what square_avg starts with, optax's initial_scale

	from fromDefault
}

// DefaultRMSprop has torch.optim.RMSprop's defaults.
func DefaultRMSprop() RMSprop { return RMSprop{LR: 1e-2, Alpha: 0.99, Eps: 1e-8, from: true} }

// Setting implements Algorithm.
func (c RMSprop) Setting() (rule.Setting, error) {
	r := c.from.ranges("rmsprop", "DefaultRMSprop")
	r.atLeast0("lr", c.LR)
	r.atLeast0("alpha", c.Alpha)
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	r.atLeast0("momentum", c.Momentum)
	r.atLeast0("eps_root", c.EpsRoot)
	r.atLeast0("initial_scale", c.InitialScale)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.RMSpropHyper{
		LR: c.LR, Alpha: c.Alpha, EpsRoot: c.EpsRoot, Eps: c.Eps, Momentum: c.Momentum, InitialScale: c.InitialScale, LRInMomentum: flag(c.LRInMomentum)}
	s := rules.RMSpropRule().With(h, rules.RMSpropOptions{Centered: c.Centered, Momentum: c.Momentum != 0})
	s.WeightDecay, s.DecoupledDecay = decay(c.WeightDecay, c.Decoupled)
	s.Maximize = c.Maximize
	return s, nil
}
