package optim

import (
	"math"

	"github.com/fusestep/fusestep/optim/internal/elementary"
)

// ReduceOnPlateau multiplies by Gamma when a metric has stopped improving, as torch's ReduceLROnPlateau does. It is a Schedule that
// does not look at the step: Observe gets the metric, after each epoch or validation, and what follows from it counts from the
// next step on. Within a Warmup or a Sequence it works as it does alone.
//
//	plateau := optim.DefaultReduceOnPlateau()
//	err := opt.SetSchedule(&plateau)
//	...
//	plateau.Observe(validationLoss)
//
// A metric is better when it is below best·(1-Threshold), with Absolute below best-Threshold; with Maximize above
// best·(1+Threshold) or best+Threshold. So, as in torch, a relative threshold is for metrics above 0: of a negative one it calls a
// slightly worse metric better. A metric that is NaN or infinite is never better. (Torch takes -Inf for the best there can be.)
type ReduceOnPlateau struct {
	Gamma     float64 // at least 0 and below 1: torch's factor
	Patience  int     // at least 0: how many metrics in a row may be no better before one more reduces
	Threshold float64 // at least 0
	Absolute  bool    // Threshold is a difference: threshold_mode "abs"
	Maximize  bool    // the metric is to rise: mode "max"
	Cooldown  int     // at least 0: how many metrics after a reduction are not held against it
	Min       float64 // at least 0 and at most 1: the factor does not fall below it. Torch's min_lr, of each group's own rate
	Eps       float64 // at least 0: the factor stays if it would fall by no more than this. Torch's eps, of each group's own rate

	State PlateauState // which a StateDict has
}

// PlateauState is what ReduceOnPlateau has gathered from its metrics. All of its numbers are finite, so that JSON holds them. Zero
// is the beginning.
type PlateauState struct {
	Reductions int     `json:"reductions"`       // so far; the factor follows from it
	Observed   bool    `json:"observed"`         // that there is a best metric
	Best       float64 `json:"best"`             // that improved by the threshold
	Bad        int     `json:"num_bad_epochs"`   // metrics since then, cooldown and reduction
	Cooldown   int     `json:"cooldown_counter"` // metrics that are still to be ignored
}

// DefaultReduceOnPlateau has torch's defaults.
func DefaultReduceOnPlateau() ReduceOnPlateau {
	return ReduceOnPlateau{Gamma: 0.1, Patience: 10, Threshold: 1e-4, Eps: 1e-8}
}

// Factor is that of all steps until the next Observe: Gamma^Reductions, at least Min.
func (p *ReduceOnPlateau) Factor(int) float64 { return p.after(p.State.Reductions) }

func (p *ReduceOnPlateau) after(reductions int) float64 {
	return math.Max(elementary.Power(p.Gamma, reductions), p.Min)
}

// Observe takes the next metric. It must not be called at the same time as Step.
func (p *ReduceOnPlateau) Observe(metric float64) {
	s := &p.State
	s.Bad++
	if p.better(metric) {
		s.Observed, s.Best, s.Bad = true, metric, 0
	}
	if s.Cooldown > 0 {
		s.Cooldown--
		s.Bad = 0
	}
	if s.Bad > p.Patience {
		if p.after(s.Reductions)-p.after(s.Reductions+1) > p.Eps {
			s.Reductions++
		}
		s.Cooldown, s.Bad = p.Cooldown, 0
	}
}

func (p *ReduceOnPlateau) better(metric float64) bool {
	threshold := p.Threshold
	if p.Maximize {
		threshold = -threshold
	}
	bound := float64(p.State.Best * (1 - threshold))
	if p.Absolute {
		bound = p.State.Best - threshold
	}
	switch {
	case !(math.Abs(metric) <= math.MaxFloat64):
		return false
	case !p.State.Observed:
		return true
	case p.Maximize:
		return metric > bound
	}
	return metric < bound
}

func (p *ReduceOnPlateau) check() error {
	r := ranges{algorithm: "reduce on plateau"}
	r.beta("gamma", p.Gamma)
	r.count("patience", p.Patience, 0)
	r.atLeast0("threshold", p.Threshold)
	r.count("cooldown", p.Cooldown, 0)
	r.require("min", p.Min, p.Min >= 0 && p.Min <= 1, "at least 0 and at most 1")
	r.atLeast0("eps", p.Eps)
	r.count("state.reductions", p.State.Reductions, 0)
	r.require("state.best", p.State.Best, true, "finite")
	r.count("state.num_bad_epochs", p.State.Bad, 0)
	r.count("state.cooldown_counter", p.State.Cooldown, 0)
	return r.err
}
