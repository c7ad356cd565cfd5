package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Adadelta is Adadelta as torch.optim.Adadelta has it (Zeiler 2012). Its state is square_avg and acc_delta.
//
// Start from DefaultAdadelta: a value that does not is refused.
type Adadelta struct {
	LR          float64 // at least 0; 1 is the paper's algorithm, which has none
	Rho         float64 // 0 to 1: how slowly the averages forget
	Eps         float64 // at least 0; added below the roots
	WeightDecay float64 // L2 penalty: weight_decay·p is added to the gradient; with Decoupled p is multiplied by 1 - lr·weight_decay
	Decoupled   bool
	Maximize    bool

	from fromDefault
}

// DefaultAdadelta has torch.optim.Adadelta's defaults.
func DefaultAdadelta() Adadelta { return Adadelta{LR: 1, Rho: 0.9, Eps: 1e-6, from: true} }

// Setting implements Algorithm.
func (c Adadelta) Setting() (rule.Setting, error) {
	r := c.from.ranges("adadelta", "DefaultAdadelta")
	r.atLeast0("lr", c.LR)
	r.require("rho", c.Rho, c.Rho >= 0 && c.Rho <= 1, "at least 0 and at most 1")
	r.atLeast0("eps", c.Eps)
	r.atLeast0("weight_decay", c.WeightDecay)
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	h := rules.AdadeltaHyper{LR: c.LR, Rho: c.Rho, Eps: c.Eps}
	s := rules.AdadeltaRule().With(h, rules.AdadeltaOptions{})
	s.WeightDecay, s.DecoupledDecay = decay(c.WeightDecay, c.Decoupled)
	s.Maximize = c.Maximize
	return s, nil
}
