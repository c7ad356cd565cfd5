package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// LARS is SGD with momentum whose gradients are made as long as their tensor, times the trust coefficient (You, Gitman & Ginsburg 2017). PyTorch
// has none; this is the paper's ratio, trust_coefficient·‖p‖ / (‖g‖ + weight_decay·‖p‖ + eps), with PyTorch's momentum, as Lightning Bolts and
// apex have it. Where one of the norms is 0 the ratio is 1, and nothing decays. Its state is momentum_buffer.
//
// With Clip it is apex' LARC of SGD.
//
// Start from DefaultLARS: a value that does not is refused.
type LARS struct {
	LR               float64 // at least 0
	Momentum         float64 // at least 0
	WeightDecay      float64 // weight_decay·p is added to the gradient, before it is multiplied by the ratio
	TrustCoefficient float64 // at least 0
	Eps              float64 // at least 0; added to the norms
	Nesterov         bool    // needs Momentum above 0
	Maximize         bool

	// Clip divides the ratio by the learning rate, and makes it 1 where it is above: the ratio itself is then the learning rate, if it is less.
	Clip bool
	// LRInMomentum lets the momentum accumulate steps, gradients times learning rates, as the paper and optax do.
	LRInMomentum bool
	// SumNorm takes the norm of g + weight_decay·p, and not the sum of norms, as optax does. Then it decays where the gradient is 0, too.
	SumNorm bool

	from fromDefault
}

// DefaultLARS has the trust coefficient of the paper and the eps of Lightning Bolts, with a momentum of 0.9 and a learning rate of 0.1.
func DefaultLARS() LARS {
	return LARS{LR: 0.1, Momentum: 0.9, TrustCoefficient: 1e-3, Eps: 1e-8, from: true}
}

// Setting implements Algorithm.
func (c LARS) Setting() (rule.Setting, error) {
	r := c.from.ranges("lars", "DefaultLARS")
	r.atLeast0("lr", c.LR)
	r.atLeast0("momentum", c.Momentum)
	r.atLeast0("weight_decay", c.WeightDecay)
	r.atLeast0("trust_coefficient", c.TrustCoefficient)
	r.atLeast0("eps", c.Eps)
	if c.Nesterov {
		r.require("momentum", c.Momentum, c.Momentum > 0, "above 0 with nesterov")
	}
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.LARSHyper{LR: c.LR, Momentum: c.Momentum, TrustCoefficient: c.TrustCoefficient, Eps: c.Eps, Nesterov: flag(c.Nesterov), Clip: flag(c.Clip),
		LRInMomentum: flag(c.LRInMomentum)}
	var sum float64
	sum, h.WeightDecay = decay(c.WeightDecay, !c.SumNorm)
	s := rules.LARSRule().With(h, rules.LARSOptions{})
	s.WeightDecay, s.Maximize = sum, c.Maximize
	return s, nil
}
