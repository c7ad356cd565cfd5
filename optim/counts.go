package optim

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Steps is the number of steps enqueued so far; the schedules' next step.
func (o *Optimizer) Steps() int {
	if o == nil {
		return 0
	}
	return o.steps
}

// SetSteps makes the next step the schedules' step n: that of a training that was saved when Steps() was n, and now goes on.
//
// Each tensor counts its own steps beside that, for bias corrections: SetGroupCounters puts that number back. The next Step holds
// the two against each other, and refuses with a CountError:
//   - after SetGroupCounters or SetTensorCounters, tensors that would have taken more than n steps: SetSteps is missing. They may have taken
//     fewer, as tensors that were added late or left out of steps have.
//   - after SetSteps alone, tensors that have not taken n steps: SetGroupCounters is missing. Tensors that are added after SetSteps
//     are new, and may have taken none.
//
// What cannot be seen is state that was not uploaded to State's buffers, and a learning rate that was not set. To start a
// schedule again in a training that goes on, put it into a Sequence, after a stage of Steps() steps.
func (o *Optimizer) SetSteps(n int) error {
	if err := o.open("set steps"); err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("optim: set steps: %d is below 0: %w", n, device.ErrRange)
	}
	for _, g := range o.all() {
		for _, q := range g.parts {
			if !q.told {
				q.adrift += n - o.steps
			}
		}
	}
	o.steps = n
	o.control.setSteps(n)
	o.norm.ready = false // what was measured has the counts of before
	return nil
}

// agree holds the tensors' counts against the optimizer's. What a failed step left is read back first.
func (g *group) agree(s *device.Stream, steps int) error {
	for _, q := range g.parts {
		if q.unsure {
			if err := q.download(s); err != nil {
				return fmt.Errorf("optim: step: nothing was updated: group %d: counters: %w", g.index, err)
			}
		}
		if !q.told && q.adrift == 0 || !q.active() {
			continue
		}
		if err := q.settle(s); err != nil {
			return fmt.Errorf("optim: step: nothing was updated: %w", err)
		}
		taken, counted := q.steps()
		missing := ""
		switch {
		case !counted:
		case q.told && taken > float64(steps):
			missing = "SetSteps"
		case !q.told && taken != float64(steps):
			missing = "SetGroupCounters"
		}
		if missing != "" {
			return &CountError{Group: g.index, Tensor: q.params[0].Name, Taken: taken, Steps: steps, Missing: missing}
		}
	}
	return nil
}

// mostReplayed is the most steps whose prologues are run on the host to find what a rule keeps after them: about a second's work.
const mostReplayed = 1 << 24

// counters are those of the group's tensors.
func (g *group) counters() []rule.Counter {
	if len(g.parts) == 0 {
		return g.setting.Rule.Counters
	}
	return g.parts[0].program.Counters
}

// restore is the counters of tensors of the group, made from what is known of them. A step count alone is enough: the rest is what the
// prologue comes to in so many steps with the hyperparameters as they are now.
func (g *group) restore(counters []rule.Counter, known map[string]float64) ([]float64, error) {
	r := g.setting.Rule
	fail := func(name string, want string, args ...any) error {
		return &RestoreError{Group: g.index, Name: name, Value: known[name], Want: fmt.Sprintf(want, args...)}
	}
	var names, missing []string
	for _, f := range counters {
		names = append(names, f.Name)
		if _, ok := known[f.Name]; !ok {
			missing = append(missing, f.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("optim: group %d: set counters: rule %s keeps no %q, only %q", g.index, r.Name, name, names)
		}
		if x := known[name]; !holds(device.Float64, x) {
			return nil, fail(name, "finite")
		}
	}
	n, counted := known[stepName]
	if !counted && len(missing) > 0 {
		return nil, fmt.Errorf("optim: group %d: set counters: %q is missing, of %q", g.index, missing, names)
	}
	if counted && (n < 0 || n != math.Floor(n) || n > 1<<53) {
		return nil, fail(stepName, "a whole number, at least 0")
	}
	if n > mostReplayed && len(missing) > 0 {
		return nil, fail(stepName, "at most %d where %q is not given", mostReplayed, missing)
	}
	hyper := slices.Clone(g.setting.Hyper)
	hyper[g.lrAt] = g.lr
	x, scalars := append(r.InitialCounters(), make([]float64, len(counters)-len(r.Counters))...), make([]float64, len(r.Scalars))
	if len(missing) > 0 {
		for range int(n) {
			r.RunPrologue(hyper, x[:len(r.Counters)], scalars, g.setting.Options)
		}
	}
	for i := len(r.Counters); i < len(x); i++ { // the program's own counter of steps
		x[i] = n
	}
	bounds := limitsOf(r, g.setting.Options, hyper, g.zeros()...)
	for i, f := range r.Counters {
		v, ok := known[f.Name]
		if !ok {
			continue
		}
		x[i] = v
		switch b := bounds[i]; {
		case f.Name == stepName:
		case counted && n == 0 && v != f.Init:
			return nil, fail(f.Name, "%v, as it is before the first step", f.Init)
		case b.falls && v > f.Init:
			return nil, fail(f.Name, "at most %v", f.Init)
		case b.rises && v < f.Init:
			return nil, fail(f.Name, "at least %v", f.Init)
		case b.positive && v < 0:
			return nil, fail(f.Name, "at least 0")
		case counted && n > 0 && b.leaves && v == f.Init:
			return nil, fail(f.Name, "other than %v, as it is before the first step", f.Init)
		}
	}
	return x, nil
}

// limits is where a number stays that a prologue keeps, as far as some steps can show.
type limits struct {
	falls, rises bool // never above its first value; never below it
	positive     bool // never below 0
	leaves       bool // never at its first value again
}

// zeros are the rule's hyperparameters where one that may be 0 is, as the learning rate is in the first step of a warm-up.
func (g *group) zeros() (out [][]float64) {
	lr := slices.Clone(g.setting.Hyper)
	lr[g.lrAt] = 0
	out = append(out, lr)
	for _, name := range hyperNames(g.algorithm) {
		if a, err := g.with(g.algorithm, name, 0); err == nil {
			if s, err := a.Setting(); err == nil && s.Check() == nil && s.Rule == g.setting.Rule {
				out = append(out, s.Hyper)
			}
		}
	}
	return out
}

// limitsOf runs a prologue with the hyperparameters, and with others from 0 up to them, other ones in each step, as schedules and
// changes may have had them, and with each of others. So what follows is true of all rules, a user's own too: a product of betas rises above 1 in none of
// these steps, and a sum of learning rates does not fall.
func limitsOf(r *rule.Rule, options uint64, hyper []float64, others ...[]float64) []limits {
	out := make([]limits, len(r.Counters))
	for i := range out {
		out[i] = limits{true, true, true, true}
	}
	varied, scalars := make([]float64, len(hyper)), make([]float64, len(r.Scalars))
	for trial := range 2 + len(others) {
		of, steps := hyper, 100
		if trial >= 2 {
			of, steps = others[trial-2], 8
		}
		x := r.InitialCounters()
		for step := range steps {
			for i, h := range of {
				varied[i] = h
				if trial == 1 && !math.IsInf(h, 0) {
					_, share := math.Modf(float64(step*len(hyper)+i+1) * math.Phi) // of all sizes
					varied[i] = h * share
					if (step+i)%7 == 6 {
						varied[i] = 0
					}
				}
			}
			r.RunPrologue(varied, x, scalars, options)
			for i, f := range r.Counters {
				b := &out[i]
				b.falls = b.falls && x[i] <= f.Init
				b.rises = b.rises && x[i] >= f.Init
				b.positive = b.positive && x[i] >= 0
				b.leaves = b.leaves && x[i] != f.Init
			}
		}
	}
	return out
}
