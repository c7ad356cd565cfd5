package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// Rprop is Rprop as torch.optim.Rprop has it (Riedmiller & Braun 1993), for whole batches: it looks at the gradient's sign
// alone. Its state is prev, the last gradient, and step_size.
//
// Start from DefaultRprop: a value that does not is refused.
type Rprop struct {
	LR        float64    // at least 0: a tensor's step sizes start with it, times the schedule's factor, in its first step. Later it has no effect
	Etas      [2]float64 // 0 < etas[0] < 1 < etas[1]: multiply the step size where the sign changed, and where it did not
	StepSizes [2]float64 // the least and the largest step size
	Maximize  bool

	from fromDefault
}

// DefaultRprop has torch.optim.Rprop's defaults.
func DefaultRprop() Rprop {
	return Rprop{LR: 1e-2, Etas: [2]float64{0.5, 1.2}, StepSizes: [2]float64{1e-6, 50}, from: true}
}

// Setting implements Algorithm.
func (c Rprop) Setting() (rule.Setting, error) {
	r := c.from.ranges("rprop", "DefaultRprop")
	r.atLeast0("lr", c.LR)
	r.require("etas[0]", c.Etas[0], c.Etas[0] > 0 && c.Etas[0] < 1, "above 0 and below 1")
	r.require("etas[1]", c.Etas[1], c.Etas[1] > 1, "above 1, and finite")
	r.atLeast0("step_sizes[0]", c.StepSizes[0])
	r.require("step_sizes[1]", c.StepSizes[1], c.StepSizes[1] >= c.StepSizes[0], "at least step_sizes[0], and finite")
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	s := rules.RpropRule().With(
		rules.RpropHyper{LR: c.LR, EtaMinus: c.Etas[0], EtaPlus: c.Etas[1], StepMin: c.StepSizes[0], StepMax: c.StepSizes[1]},
		rules.RpropOptions{})
	s.Maximize = c.Maximize
	return s, nil
}
