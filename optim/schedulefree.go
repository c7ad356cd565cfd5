package optim

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// ScheduleFreeSGD is SGD that averages where it was in place of having momentum, and so needs no schedule but a warm-up (Defazio
// et al. 2024), as the authors' schedulefree.SGDScheduleFree has it. Its state is z, where the steps are taken, and which begins
// where the parameter is before the first step.
//
// The parameter is where gradients are to be taken, between z and the average. What is to be evaluated, and given out, is the
// average: Optimizer.EvalParams.
//
// Start from DefaultScheduleFreeSGD: a value that does not is refused.
type ScheduleFreeSGD struct {
	LR            float64 // at least 0
	Momentum      float64 // above 0 and below 1: how near the parameter is to the average
	WeightDecay   float64 // L2 penalty: weight_decay·p is added to the gradient
	WarmupSteps   int     // at least 0: step t, from 1, of them has the learning rate lr·t/warmup_steps
	R             float64 // above -16 and below 16: step t weighs t^r in the average, times
	WeightLRPower float64 // at least 0 and below 16: the largest learning rate so far, to this power
	Maximize      bool

	from fromDefault
}

// DefaultScheduleFreeSGD has schedulefree.SGDScheduleFree's defaults.
func DefaultScheduleFreeSGD() ScheduleFreeSGD {
	return ScheduleFreeSGD{LR: 1, Momentum: 0.9, WeightLRPower: 2, from: true}
}

// Setting implements Algorithm.
func (c ScheduleFreeSGD) Setting() (rule.Setting, error) {
	return scheduleFree(c.from.ranges("schedulefreesgd", "DefaultScheduleFreeSGD"), "momentum", rules.ScheduleFreeHyper{LR: c.LR, Beta1: c.Momentum,
		WarmupSteps: float64(c.WarmupSteps), R: c.R, WeightLRPower: c.WeightLRPower}, c.WeightDecay, false, c.Maximize)
}

// ScheduleFreeAdamW is AdamW that averages where it was in place of the first moment, and so needs no schedule but a warm-up
// (Defazio et al. 2024), as the authors' schedulefree.AdamWScheduleFree has it. Its state is exp_avg_sq, and z as
// ScheduleFreeSGD's; what that says of the average holds here.
//
// Start from DefaultScheduleFreeAdamW: a value that does not is refused.
type ScheduleFreeAdamW struct {
	LR            float64    // at least 0
	Betas         [2]float64 // above 0 and below 1: how near the parameter is to the average; at least 0 and below 1
	Eps           float64    // at least 0; added to the corrected root
	WeightDecay   float64    // decoupled, but at the parameter: weight_decay·p is added to the gradient divided by the root
	WarmupSteps   int        // at least 0: step t, from 1, of them has the learning rate lr·t/warmup_steps
	R             float64    // above -16 and below 16: step t weighs t^r in the average, times
	WeightLRPower float64    // at least 0 and below 16: the largest learning rate so far, to this power
	Maximize      bool

	from fromDefault
}

// DefaultScheduleFreeAdamW has schedulefree.AdamWScheduleFree's defaults.
func DefaultScheduleFreeAdamW() ScheduleFreeAdamW {
	return ScheduleFreeAdamW{LR: 2.5e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, WeightLRPower: 2, from: true}
}

// Setting implements Algorithm.
func (c ScheduleFreeAdamW) Setting() (rule.Setting, error) {
	return scheduleFree(c.from.ranges("schedulefreeadamw", "DefaultScheduleFreeAdamW"), "betas[0]", rules.ScheduleFreeHyper{LR: c.LR, Beta1: c.Betas[0], Beta2: c.Betas[1],
		Eps: c.Eps, WarmupSteps: float64(c.WarmupSteps), R: c.R, WeightLRPower: c.WeightLRPower}, c.WeightDecay, true, c.Maximize)
}

func scheduleFree(r ranges, beta1 string, h rules.ScheduleFreeHyper, weightDecay float64, adam, maximize bool) (rule.Setting, error) {
	r.atLeast0("lr", h.LR)
	r.require(beta1, h.Beta1, h.Beta1 > 0 && h.Beta1 < 1, "above 0 and below 1")
	r.beta("betas[1]", h.Beta2)
	r.atLeast0("eps", h.Eps)
	r.atLeast0("weight_decay", weightDecay)
	r.atLeast0("warmup_steps", h.WarmupSteps)
	r.require("r", h.R, h.R > -16 && h.R < 16, "above -16 and below 16")
	r.require("weight_lr_power", h.WeightLRPower, h.WeightLRPower >= 0 && h.WeightLRPower < 16, "at least 0 and below 16")
	if r.err != nil {
		return rule.Setting{}, r.err
	}
	var l2 float64
	l2, h.DecayAtY = decay(weightDecay, adam)
	s := rules.ScheduleFreeRule().With(h, rules.ScheduleFreeOptions{Adam: adam, DecayAtY: h.DecayAtY != 0})
	s.Name, s.Maximize, s.WeightDecay, s.Eval = r.algorithm, maximize, l2, rules.ScheduleFreeAverageRule().Rule
	return s, nil
}
