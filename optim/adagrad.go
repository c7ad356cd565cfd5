package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Adagrad is Adagrad as torch.optim.Adagrad has it (Duchi, Hazan & Singer 2011). Its state is sum.
//
// Start from DefaultAdagrad: a value that does not is refused.
type Adagrad struct {
	LR                 float64 // at least 0
	LRDecay            float64 // at least 0: step t, from 0, uses lr/(1 + t·lr_decay)
	WeightDecay        float64 // L2 penalty: weight_decay·p is added to the gradient; with Decoupled p is multiplied by 1 - lr·weight_decay
	Decoupled          bool
	InitialAccumulator float64 `hyper:"initial_accumulator_value"` // at least 0: what sum starts with, torch's initial_accumulator_value
	Eps                float64 // at least 0; added to the root
	EpsRoot            float64 // at least 0; added below the root: Keras' epsilon and optax's eps, both with an Eps of 0
	Maximize           bool

	from fromDefault
}

// DefaultAdagrad has torch.optim.Adagrad's defaults.
func DefaultAdagrad() Adagrad { return Adagrad{LR: 1e-2, Eps: 1e-10, from: true} }

// Setting implements Algorithm.
func (c Adagrad) Setting() (rule.Setting, error) {
	r := c.from.ranges("adagrad", "DefaultAdagrad")
	r.atLeast0("lr", c.LR)
	r.atLeast0("lr_decay", c.LRDecay)
	r.atLeast0("weight_decay", c.WeightDecay)
	r.atLeast0("initial_accumulator_value", c.InitialAccumulator)
	r.atLeast0("eps", c.Eps)
	r.atLeast0("eps_root", c.EpsRoot)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.AdagradHyper{LR: c.LR, LRDecay: c.LRDecay, InitialAccumulator: c.InitialAccumulator, EpsRoot: c.EpsRoot, Eps: c.Eps}
	s := rules.AdagradRule().With(h, rules.AdagradOptions{})
	s.WeightDecay, s.DecoupledDecay = decay(c.WeightDecay, c.Decoupled)
	s.Maximize = c.Maximize
	return s, nil
}
