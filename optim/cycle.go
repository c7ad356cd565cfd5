package optim

import (
	"math"

	"github.com/fusestep/fusestep/optim/internal/elementary"
)

// CosineWarmRestarts falls from 1 to Min along half a cosine, over T0 steps, and starts again at 1; each time takes TMult times
// as many steps as the one before (SGDR, Loshchilov & Hutter 2017). It is torch's CosineAnnealingWarmRestarts with
// eta_min = Min·lr.
type CosineWarmRestarts struct {
	T0    int     // at least 1
	TMult int     // at least 1
	Min   float64 // at least 0
}

// Factor is Min + (1-Min)·(1+cos(π·j/T))/2 in step j of the T since the last restart.
func (c CosineWarmRestarts) Factor(k int) float64 {
	j, t := float64(k), float64(c.T0) // T outgrows an int
	if c.TMult <= 1 {
		j = math.Mod(j, t)
	}
	for ; 0 < t && t <= j; t = float64(t * float64(c.TMult)) {
		j -= t
	}
	return between(c.Min, 1, elementary.HalfCosine((t-j)/t))
}

func (c CosineWarmRestarts) check() error {
	r := ranges{algorithm: "cosine with warm restarts"}
	r.count("t_0", c.T0, 1)
	r.count("t_mult", c.TMult, 1)
	r.atLeast0("min", c.Min)
	return r.err
}

// OneCycle rises from 1/DivFactor to 1 in the first PctStart of Steps steps and falls to 1/(DivFactor·FinalDivFactor), where it
// stays (Smith & Topin 2019). It is torch's OneCycleLR, whose max_lr is the group's rate. The peak lies where torch has it, at step
// PctStart·Steps-1, which need not be a whole number. Momentum and betas stay as they are. Torch's cycle_momentum is a schedule of
// theirs: docs/schedules.md has it.
type OneCycle struct {
	Steps          int     // at least 0: torch's total_steps
	PctStart       float64 // at least 0 and below 1; with ThreePhase at most 0.5
	DivFactor      float64 // above 0
	FinalDivFactor float64 // above 0
	ThreePhase     bool    // fall to 1/DivFactor as fast as it rose, and then to the end
	Linear         bool    // rise and fall linearly: anneal_strategy "linear". Otherwise along half a cosine, "cos"
}

// DefaultOneCycle has torch's defaults.
func DefaultOneCycle(steps int) OneCycle {
	return OneCycle{Steps: steps, PctStart: 0.3, DivFactor: 25, FinalDivFactor: 1e4}
}

// Factor is that of the phase in which step k is.
func (c OneCycle) Factor(k int) float64 {
	first, end := 1/c.DivFactor, 1/c.DivFactor/c.FinalDivFactor
	x, last := float64(k), float64(c.Steps)-1
	peak := float64(c.PctStart*float64(c.Steps)) - 1
	switch {
	case x >= last:
		return end
	case x < peak:
		return c.anneal(first, 1, x/peak)
	case !c.ThreePhase:
		return c.anneal(end, 1, (last-x)/(last-peak))
	case x < peak+peak:
		return c.anneal(first, 1, (peak+peak-x)/peak)
	}
	return c.anneal(end, first, (last-x)/(last-(peak+peak)))
}

// anneal is what lies that share of the way from low to high, as the phases go.
func (c OneCycle) anneal(low, high, share float64) float64 {
	if !c.Linear {
		share = elementary.HalfCosine(share)
	}
	return between(low, high, share)
}

func (c OneCycle) check() error {
	r := ranges{algorithm: "one-cycle"}
	r.count("steps", c.Steps, 0)
	if c.ThreePhase {
		r.require("pct_start", c.PctStart, c.PctStart >= 0 && c.PctStart <= 0.5, "at least 0 and, with three phases, at most 0.5")
	} else {
		r.require("pct_start", c.PctStart, c.PctStart >= 0 && c.PctStart < 1, "at least 0 and below 1")
	}
	r.require("div_factor", c.DivFactor, c.DivFactor > 0, "above 0, and finite")
	r.require("final_div_factor", c.FinalDivFactor, c.FinalDivFactor > 0, "above 0, and finite")
	return r.err
}
