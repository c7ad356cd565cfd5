package optim

import (
	"fmt"
	"reflect"
)

// Schedule changes the learning rates from step to step: a function of the step. ReduceOnPlateau alone has state. A StateDict has a schedule's type and
// fields; one of a type of the user's own is the program's to set before it goes on.
//
// A schedule's lengths are steps, as Optimizer.Step counts them, and its other fields are multiples of each group's own rate:
// what other libraries call eta_min, lr_end or min_lr, divided by the rate. SetSchedule refuses fields that are out of range;
// Factor does not look.
//
// A factor has the same bits on every machine. It may grow beyond what float64 holds, as Exponential{Gamma: 2} does at step 1024:
// then it is infinite, and Optimizer.Step refuses the rate that it makes.
type Schedule interface {
	// Factor multiplies every group's learning rate in step k; the first step is 0.
	Factor(k int) float64
}

// ScheduleFunc is a function as a Schedule, such as one of the user's own. SetSchedule refuses a nil one.
type ScheduleFunc func(k int) float64

// Factor implements Schedule.
func (f ScheduleFunc) Factor(k int) float64 { return f(k) }

// Constant leaves learning rates as they are, and so does a nil Schedule.
type Constant struct{}

// Factor is 1.
func (Constant) Factor(int) float64 { return 1 }

// Warmup rises linearly from Start to 1 over Steps steps, as torch's LinearLR does, and then follows Then, counting from 0
// again; without one it stays at 1. Step 0 of 0 steps is Then's already.
type Warmup struct {
	Start float64 // at least 0: factor of step 0
	Steps int     // at least 0
	Then  Schedule
}

// Factor is Start + (1-Start)·k/Steps, then what Then says.
func (w Warmup) Factor(k int) float64 {
	if k < w.Steps {
		return between(w.Start, 1, float64(k)/float64(w.Steps))
	}
	return factorOf(w.Then, k-w.Steps)
}

func (w Warmup) check() error {
	r := ranges{algorithm: "warmup"}
	r.atLeast0("start", w.Start)
	r.count("steps", w.Steps, 0)
	return r.with("then", w.Then)
}

// WSD is warm-up, stable, decay (Hu et al. 2024): it rises linearly from Start to 1 over Warmup steps, stays there for Stable
// steps and then follows Decay, counting from 0 again: Linear, Cosine or OneMinusSqrt, the types that transformers'
// get_wsd_schedule has, or any other schedule. Without one it stays at 1. Start and Decay's Min are transformers' min_lr_ratio.
type WSD struct {
	Start  float64 // at least 0: factor of step 0
	Warmup int     // at least 0
	Stable int     // at least 0
	Decay  Schedule
}

// Factor is Start + (1-Start)·k/Warmup, then 1, then what Decay says.
func (w WSD) Factor(k int) float64 {
	k -= w.Warmup
	switch {
	case k < 0:
		return Warmup{Start: w.Start, Steps: w.Warmup}.Factor(k + w.Warmup)
	case k < w.Stable:
		return 1
	}
	return factorOf(w.Decay, k-w.Stable)
}

func (w WSD) check() error {
	r := ranges{algorithm: "wsd"}
	r.atLeast0("start", w.Start)
	r.count("warmup", w.Warmup, 0)
	r.count("stable", w.Stable, 0)
	return r.with("decay", w.Decay)
}

// Sequence follows one schedule after the other, as torch's SequentialLR and optax's join_schedules do; each counts from 0. The
// last goes on however many steps it has.
type Sequence []Stage

// Stage is a schedule and for how long a Sequence follows it.
type Stage struct {
	Steps    int // at least 0
	Schedule Schedule
}

// Factor is that of the stage in which step k is. Of no stages it is 1.
func (s Sequence) Factor(k int) float64 {
	for i, stage := range s {
		if k < stage.Steps || i == len(s)-1 {
			return factorOf(stage.Schedule, k)
		}
		k -= stage.Steps
	}
	return 1
}

func (s Sequence) check() error {
	r := ranges{algorithm: "sequence"}
	for i, stage := range s {
		r.count(fmt.Sprintf("steps of stage %d", i), stage.Steps, 0)
		r.err = r.with(fmt.Sprintf("schedule of stage %d", i), stage.Schedule)
	}
	return r.err
}

func factorOf(s Schedule, k int) float64 {
	if s == nil {
		return 1
	}
	return s.Factor(k)
}

// between is what lies that share of the way from low to high.
func between(low, high, share float64) float64 { return low + float64((high-low)*share) }

// checkSchedule finds a schedule that is a nil function or pointer, and a field that is out of range. What a schedule of the user's
// own has is the user's. A nil interface is no schedule, which is allowed.
func checkSchedule(s Schedule) error {
	if s != nil && isNil(s) {
		return fmt.Errorf("optim: schedule %T is nil", s)
	}
	if c, ok := s.(interface{ check() error }); ok {
		return c.check()
	}
	return nil
}

// isNil says whether an interface holds nothing, or a nil pointer or function, on which no method can be called. A nil slice can have
// methods.
func isNil(x any) bool {
	if x == nil {
		return true
	}
	v := reflect.ValueOf(x)
	return (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil()
}

// with is the first error of the ranges and, after them, of the schedule that a field holds.
func (r *ranges) with(field string, s Schedule) error {
	switch {
	case r.err != nil:
		return r.err
	case s != nil && isNil(s):
		return fmt.Errorf("optim: %s: %s: schedule %T is nil", r.algorithm, field, s)
	}
	return checkSchedule(s)
}
