package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Adafactor is Adafactor as torch.optim has it (Shazeer & Stern 2018). Of a tensor with a matrix view, which Param.Shape and Param.Rows say, its state
// is row_var and col_var, a number of each row and of each column; of any other variance. With Beta1 it is exp_avg too. Of a tensor of more than two
// axes the last two are a matrix, of which there is one for each place on the others.
//
// Start from DefaultAdafactor: a value that does not is refused.
type Adafactor struct {
	LR          float64    // at least 0; a step's rate is at most 1/√step, and is scaled by the root mean square of the tensor's values
	Beta2Decay  float64    // at most 0, and above -16: a square has the share step^beta2_decay of an average
	Eps         [2]float64 // above 0, with EpsSquare 0: below a mean of squares, and its square below each; at least 0: below the values' root mean square
	D           float64    // above 0; the update is clipped to this root mean square
	WeightDecay float64    // decoupled: p is multiplied by 1 - lr·weight_decay
	Beta1       float64    // at least 0 and below 1; not 0, updates are averaged, as the paper and the authors' code do, and PyTorch does not
	EpsSquare   float64    // at least 0; added to each square of a gradient, with an Eps[0] of 0: Keras' epsilon_1, optax' eps, transformers' eps[0]
	Maximize    bool

	// NoRelativeStep takes the learning rate as it is, above 1/√step too, as optax does: transformers' relative_step=False.
	NoRelativeStep bool
	// NoScaleParameter scales no step by the root mean square of the values: transformers' scale_parameter=False, optax' multiply_by_parameter_scale=False.
	NoScaleParameter bool

	from fromDefault
}

// DefaultAdafactor has PyTorch's defaults. Its eps[0] of None is the type's epsilon. Here it is that of float32; that of float64 is 0x1p-52.
func DefaultAdafactor() Adafactor {
	return Adafactor{LR: 1e-2, Beta2Decay: -0.8, Eps: [2]float64{0x1p-23, 1e-3}, D: 1, from: true}
}

// Setting implements Algorithm.
func (c Adafactor) Setting() (rule.Setting, error) {
	r := c.from.ranges("adafactor", "DefaultAdafactor")
	r.atLeast0("lr", c.LR)
	r.require("beta2_decay", c.Beta2Decay, c.Beta2Decay <= 0 && c.Beta2Decay > -16, "at most 0, and above -16")
	r.atLeast0("eps_square", c.EpsSquare)
	if c.EpsSquare == 0 {
		r.require("eps[0]", c.Eps[0], c.Eps[0] > 0, "above 0")
	} else {
		r.require("eps[0]", c.Eps[0], c.Eps[0] == 0, "0 with eps_square")
	}
	r.atLeast0("eps[1]", c.Eps[1])
	r.require("d", c.D, c.D > 0, "above 0")
	r.atLeast0("weight_decay", c.WeightDecay)
	r.beta("beta1", c.Beta1)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.AdafactorHyper{LR: c.LR, Beta2Decay: c.Beta2Decay, Eps1: c.Eps[0], EpsSquare: c.EpsSquare, Eps2: c.Eps[1], D: c.D, Beta1: c.Beta1,
		NoRelativeStep: flag(c.NoRelativeStep), NoScaleParameter: flag(c.NoScaleParameter)}
	s := rules.AdafactorRule().With(h, rules.AdafactorOptions{Momentum: c.Beta1 != 0, EpsAdded: c.EpsSquare != 0})
	s.DecoupledDecay, s.Maximize = c.WeightDecay, c.Maximize
	return s, nil
}
