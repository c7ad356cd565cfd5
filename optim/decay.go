package optim

import (
	"fmt"
	"math"

	"github.com/fusestep/fusestep/optim/internal/elementary"
)

// StepDecay multiplies by Gamma after every Every steps, as torch's StepLR does.
type StepDecay struct {
	Every int     // at least 1
	Gamma float64 // at least 0
}

// Factor is Gamma^⌊k/Every⌋.
func (d StepDecay) Factor(k int) float64 {
	if d.Every < 1 {
		return math.NaN()
	}
	return elementary.Power(d.Gamma, k/d.Every)
}

func (d StepDecay) check() error {
	r := ranges{algorithm: "step decay"}
	r.count("every", d.Every, 1)
	r.atLeast0("gamma", d.Gamma)
	return r.err
}

// MultiStep multiplies by Gamma at each milestone, as torch's MultiStepLR does: from that step on. Their order means nothing, and
// one that is there twice counts twice.
type MultiStep struct {
	Milestones []int   // each at least 0
	Gamma      float64 // at least 0
}

// Factor is Gamma to the number of milestones up to k.
func (m MultiStep) Factor(k int) float64 {
	n := 0
	for _, milestone := range m.Milestones {
		if milestone <= k {
			n++
		}
	}
	return elementary.Power(m.Gamma, n)
}

func (m MultiStep) check() error {
	r := ranges{algorithm: "multi-step"}
	for i, milestone := range m.Milestones {
		r.count(fmt.Sprintf("milestones[%d]", i), milestone, 0)
	}
	r.atLeast0("gamma", m.Gamma)
	return r.err
}

// Exponential multiplies by Gamma after every step, as torch's ExponentialLR does.
type Exponential struct {
	Gamma float64 // at least 0; above 1 it grows
}

// Factor is Gamma^k.
func (e Exponential) Factor(k int) float64 { return elementary.Power(e.Gamma, k) }

func (e Exponential) check() error {
	r := ranges{algorithm: "exponential"}
	r.atLeast0("gamma", e.Gamma)
	return r.err
}

// Linear falls linearly from 1 to Min over Steps steps and stays there: torch's LinearLR with end_factor = Min; after a Warmup,
// transformers' get_linear_schedule_with_warmup.
type Linear struct {
	Steps int     // at least 0
	Min   float64 // at least 0
}

// Factor is Min + (1-Min)·(1-k/Steps).
func (l Linear) Factor(k int) float64 { return between(l.Min, 1, left(k, l.Steps)) }

func (l Linear) check() error { return checkDecay("linear", l.Steps, l.Min) }

// Polynomial falls from 1 to Min over Steps steps, as Power says, and stays there. With Min = 0 it is torch's PolynomialLR;
// with Min = lr_end/lr, after a Warmup, transformers' get_polynomial_decay_schedule_with_warmup.
type Polynomial struct {
	Steps int     // at least 0
	Power float64 // above 0
	Min   float64 // at least 0
}

// Factor is Min + (1-Min)·(1-k/Steps)^Power.
func (p Polynomial) Factor(k int) float64 {
	return between(p.Min, 1, elementary.Pow(left(k, p.Steps), p.Power))
}

func (p Polynomial) check() error {
	r := ranges{algorithm: "polynomial", err: checkDecay("polynomial", p.Steps, p.Min)}
	r.require("power", p.Power, p.Power > 0, "above 0, and finite")
	return r.err
}

// Cosine falls from 1 to Min along half a cosine over Steps steps and stays there (Loshchilov & Hutter 2017, without
// restarts). Within Steps it is torch's CosineAnnealingLR with eta_min = Min·lr.
type Cosine struct {
	Steps int     // at least 0
	Min   float64 // at least 0
}

// Factor is Min + (1-Min)·(1+cos(π·k/Steps))/2.
func (c Cosine) Factor(k int) float64 {
	return between(c.Min, 1, elementary.HalfCosine(left(k, c.Steps)))
}

func (c Cosine) check() error { return checkDecay("cosine", c.Steps, c.Min) }

// OneMinusSqrt falls from 1 to Min over Steps steps, at first steeply, and stays there (Hägele et al. 2024): the decay of WSD
// that transformers calls 1-sqrt.
type OneMinusSqrt struct {
	Steps int     // at least 0
	Min   float64 // at least 0
}

// Factor is Min + (1-Min)·(1-√(k/Steps)).
func (o OneMinusSqrt) Factor(k int) float64 {
	if k >= o.Steps {
		return o.Min
	}
	root := math.Sqrt(float64(k) / float64(o.Steps))
	return between(o.Min, 1, left(k, o.Steps)/(1+root)) // (1-k/Steps)/(1+root) is 1-root, and nothing cancels
}

func (o OneMinusSqrt) check() error { return checkDecay("1-sqrt", o.Steps, o.Min) }

// InverseSqrt falls as 1/√k does, without end: after a Warmup of Timescale steps in the way of Vaswani et al. 2017, and after
// any other as transformers' get_inverse_sqrt_schedule.
type InverseSqrt struct {
	Timescale int // at least 1
}

// Factor is √(Timescale/(Timescale+k)).
func (i InverseSqrt) Factor(k int) float64 {
	t := float64(i.Timescale)
	return math.Sqrt(t / (t + float64(k)))
}

func (i InverseSqrt) check() error {
	r := ranges{algorithm: "inverse sqrt"}
	r.count("timescale", i.Timescale, 1)
	return r.err
}

func checkDecay(name string, steps int, least float64) error {
	r := ranges{algorithm: name}
	r.count("steps", steps, 0)
	r.atLeast0("min", least)
	return r.err
}

// left is the share of n steps that is still to come in step k.
func left(k, n int) float64 {
	if k >= n {
		return 0
	}
	return float64(n-k) / float64(n)
}
