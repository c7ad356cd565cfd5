package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// SignSGD moves each element by the learning rate against the gradient's sign (Bernstein et al. 2018, algorithm 1); PyTorch has
// none. It has no state.
//
// Start from DefaultSignSGD: a value that does not is refused.
type SignSGD struct {
	LR          float64 // at least 0
	WeightDecay float64 // decoupled: each step first multiplies p by 1 - lr·weight_decay
	Maximize    bool

	from fromDefault
}

// DefaultSignSGD has DefaultLion's learning rate: the paper tunes its own.
func DefaultSignSGD() SignSGD { return SignSGD{LR: 1e-4, from: true} }

// Setting implements Algorithm.
func (c SignSGD) Setting() (rule.Setting, error) {
	return Signum{LR: c.LR, WeightDecay: c.WeightDecay, Maximize: c.Maximize}.setting(c.from.ranges("signsgd", "DefaultSignSGD"), false)
}

// Signum moves each element by the learning rate against the sign of a moving average of its gradients (Bernstein et al. 2018,
// algorithm 2); PyTorch has none. Its state is exp_avg.
//
// Start from DefaultSignum: a value that does not is refused.
type Signum struct {
	LR          float64 // at least 0
	Beta        float64 // at least 0 and below 1: how slowly the average forgets
	WeightDecay float64 // decoupled: each step first multiplies p by 1 - lr·weight_decay
	Maximize    bool

	from fromDefault
}

// DefaultSignum has DefaultSignSGD's learning rate and optax.signum's beta.
func DefaultSignum() Signum { return Signum{LR: 1e-4, Beta: 0.9, from: true} }

// Setting implements Algorithm.
func (c Signum) Setting() (rule.Setting, error) {
	return c.setting(c.from.ranges("signum", "DefaultSignum"), true)
}

func (c Signum) setting(r ranges, momentum bool) (rule.Setting, error) {
	r.atLeast0("lr", c.LR)
	r.beta("beta", c.Beta)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.SignumRule().With(
		rules.SignumHyper{LR: c.LR, Beta: c.Beta}, rules.SignumOptions{Momentum: momentum})
	s.Name, s.Maximize, s.DecoupledDecay = r.algorithm, c.Maximize, c.WeightDecay
	return s, nil
}
