package optim

import "math"

// Schedule changes the learning rates from step to step.
type Schedule interface {
	// Factor multiplies every group's learning rate in step k; the first step is 0.
	Factor(k int) float64
}

// ScheduleFunc is a function as a Schedule, such as one of the user's own.
type ScheduleFunc func(k int) float64

// Factor implements Schedule.
func (f ScheduleFunc) Factor(k int) float64 { return f(k) }

// Constant leaves learning rates as they are.
type Constant struct{}

// Factor is 1.
func (Constant) Factor(int) float64 { return 1 }

// Warmup rises linearly from Start to 1 over Steps steps, as torch's LinearLR does, and then follows Then, counting from 0
// again; without one it stays at 1.
type Warmup struct {
	Start float64 // factor of step 0
	Steps int
	Then  Schedule
}

// Factor is Start + (1-Start)·k/Steps, then what Then says.
func (w Warmup) Factor(k int) float64 {
	switch {
	case k < w.Steps:
		return w.Start + (1-w.Start)*float64(k)/float64(w.Steps)
	case w.Then == nil:
		return 1
	}
	return w.Then.Factor(k - w.Steps)
}

// StepDecay multiplies by Gamma after every Every steps, as torch's StepLR does. An Every below 1 never decays.
type StepDecay struct {
	Every int
	Gamma float64
}

// Factor is Gamma^⌊k/Every⌋.
func (d StepDecay) Factor(k int) float64 {
	if d.Every < 1 {
		return 1
	}
	return math.Pow(d.Gamma, float64(k/d.Every))
}

// Cosine falls from 1 to Min along half a cosine over Steps steps and stays there (Loshchilov & Hutter 2017, without
// restarts). Within Steps it is torch's CosineAnnealingLR with eta_min = Min·lr.
type Cosine struct {
	Steps int
	Min   float64
}

// Factor is Min + (1-Min)·(1+cos(π·k/Steps))/2.
func (c Cosine) Factor(k int) float64 {
	if k >= c.Steps {
		return c.Min
	}
	return c.Min + (1-c.Min)*(1+math.Cos(math.Pi*float64(k)/float64(c.Steps)))/2
}
