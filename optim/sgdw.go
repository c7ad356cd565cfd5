package optim

import "github.com/fusestep/fusestep/kernels/rule"

// SGDW is SGD with momentum and decoupled weight decay (Loshchilov & Hutter 2019, algorithm 1). Its state is momentum_buffer, which
// holds steps, gradients times learning rates, where SGD's holds gradients.
//
// Start from DefaultSGDW: a value that does not is refused.
type SGDW struct {
	LR       float64 // at least 0
	Momentum float64 // at least 0
	// WeightDecay is decoupled, and AdamW's: each step multiplies p by 1 - lr·weight_decay. The paper's λ, which only the schedule
	// multiplies, is weight_decay times the learning rate before the schedule.
	WeightDecay float64
	Maximize    bool

	from fromDefault
}

// DefaultSGDW has DefaultSGD's learning rate, DefaultAdamW's decay and a momentum of 0.9: the paper gives none.
func DefaultSGDW() SGDW { return SGDW{LR: 1e-3, Momentum: 0.9, WeightDecay: 1e-2, from: true} }

// Setting implements Algorithm.
func (c SGDW) Setting() (rule.Setting, error) {
	sgd := SGD{LR: c.LR, Momentum: c.Momentum, LRInMomentum: true, WeightDecay: c.WeightDecay, Decoupled: true, Maximize: c.Maximize}
	return sgd.setting(c.from.ranges("sgdw", "DefaultSGDW"), true)
}
