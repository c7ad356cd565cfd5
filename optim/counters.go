package optim

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// GroupCounters waits for the stream, nil for the default one, and returns the group's counters, which its tensors keep from step to
// step beside State: "step", the number of steps taken, and others such as "beta1_power". Where they differ, because some were left out of steps, it
// fails, and TensorCounters tells them apart. A group without tensors has what a new tensor has.
func (o *Optimizer) GroupCounters(s *device.Stream, group int) (map[string]float64, error) {
	s, err := o.on("group counters", s)
	if err != nil {
		return nil, err
	}
	g, err := o.group("group counters", group)
	if err != nil {
		return nil, err
	}
	if len(g.parts) == 0 {
		return counterMap(g.setting.Rule.Counters, g.setting.Rule.InitialCounters()), nil
	}
	for _, q := range g.parts {
		if err := q.read(s); err != nil {
			return nil, err
		}
		if bitsOf(q.mirror) != bitsOf(g.parts[0].mirror) {
			return nil, fmt.Errorf("optim: group %d: counters: tensors %q and %q have taken different steps: ask for TensorCounters", group,
				g.parts[0].params[0].Name, q.params[0].Name)
		}
	}
	return counterMap(g.parts[0].program.Counters, g.parts[0].mirror), nil
}

// TensorCounters is GroupCounters of one tensor.
func (o *Optimizer) TensorCounters(s *device.Stream, tensor string) (map[string]float64, error) {
	s, err := o.on("tensor counters", s)
	if err != nil {
		return nil, err
	}
	p, err := o.tensor("tensor counters", tensor)
	if err != nil {
		return nil, err
	}
	if err := p.part.read(s); err != nil {
		return nil, err
	}
	return counterMap(p.part.program.Counters, p.part.mirror), nil
}

func (q *part) read(s *device.Stream) error {
	if err := q.download(s); err != nil {
		return fmt.Errorf("optim: group %d: counters: %w", q.group.index, err)
	}
	return nil
}

func counterMap(counters []rule.Counter, x []float64) map[string]float64 {
	out := map[string]float64{}
	for i, f := range counters {
		out[f.Name] = x[i]
	}
	return out
}

// SetGroupCounters puts back what GroupCounters returned, for all tensors of the group, and waits for the stream: for who does not go on from a
// StateDict. "step" alone is
// enough, as in PyTorch's state of most optimizers: the others become what that many steps make of them, with the hyperparameters as
// they are now, before schedules. What is given is checked against what the rule can come to: a RestoreError
// says what it cannot, and nothing is set. SetSteps says how the step counts must agree.
func (o *Optimizer) SetGroupCounters(s *device.Stream, group int, counters map[string]float64) error {
	s, err := o.on("set group counters", s)
	if err != nil {
		return err
	}
	g, err := o.group("set group counters", group)
	if err != nil {
		return err
	}
	x, err := g.restore(g.counters(), counters)
	if err != nil {
		return err
	}
	for _, q := range g.parts {
		if err := q.set(s, x); err != nil {
			return err
		}
	}
	return nil
}

// SetTensorCounters is SetGroupCounters of one tensor. SetCounters is of many, and takes as long.
func (o *Optimizer) SetTensorCounters(s *device.Stream, tensor string, counters map[string]float64) error {
	return o.SetCounters(s, map[string]map[string]float64{tensor: counters})
}

// Counters is TensorCounters of all tensors, by their names.
func (o *Optimizer) Counters(s *device.Stream) (map[string]map[string]float64, error) {
	s, err := o.on("counters", s)
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]float64{}
	for _, g := range o.all() {
		for _, q := range g.parts {
			if err := q.read(s); err != nil {
				return nil, err
			}
			for _, p := range q.params {
				out[p.Name] = counterMap(q.program.Counters, q.mirror)
			}
		}
	}
	return out, nil
}

// SetCounters is SetTensorCounters of tensors by their names. Either all are set or, where something is wrong with one, none is.
func (o *Optimizer) SetCounters(s *device.Stream, counters map[string]map[string]float64) error {
	s, err := o.on("set counters", s)
	if err != nil {
		return err
	}
	type known struct {
		of   *part
		bits string
	}
	made := map[known][]float64{} // nil of the zero key: tensors that are not set
	to := map[*param]known{}
	var parts []*part
	concerned := map[*part]bool{}
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		p, err := o.tensor("set counters", name)
		if err != nil {
			return err
		}
		k := known{p.part, bitsOfMap(counters[name])}
		if made[k] == nil {
			if made[k], err = p.group.restore(p.part.program.Counters, counters[name]); err != nil {
				return err
			}
		}
		to[p] = k
		if !concerned[p.part] {
			concerned[p.part] = true
			parts = append(parts, p.part)
		}
	}
	type setting struct {
		q *part
		x []float64
	}
	var settings []setting
	for _, q := range parts {
		by := map[known][]*param{}
		var order []known
		for _, p := range q.params {
			k := to[p]
			if by[k] == nil {
				order = append(order, k)
			}
			by[k] = append(by[k], p)
		}
		into, err := o.split(s, q, len(order))
		if err != nil {
			return by[order[0]][0].fail(err)
		}
		for i, k := range order {
			if x := made[k]; x != nil {
				settings = append(settings, setting{into[i], x})
			}
			into[i].params = by[k]
			for _, p := range by[k] {
				p.part = into[i]
			}
		}
	}
	for _, c := range settings {
		if err := c.q.set(s, c.x); err != nil {
			return err
		}
	}
	return nil
}

// split makes a part into n of its history, the first of them itself, which are still to get their tensors. Those that come to one history are one
// again at the next step.
func (o *Optimizer) split(s *device.Stream, q *part, n int) ([]*part, error) {
	parts := []*part{q}
	for len(parts) < n {
		f, err := q.fork(s, q.program)
		if err != nil {
			for _, f := range parts[1:] {
				err = errors.Join(err, f.close())
			}
			return nil, err
		}
		parts = append(parts, f)
	}
	if n > 1 {
		q.changed, o.stale = true, true
		q.group.parts = append(q.group.parts, parts[1:]...)
		for _, f := range parts {
			f.mixed = true
		}
	}
	return parts, nil
}

// bitsOfMap tells maps of numbers apart.
func bitsOfMap(m map[string]float64) string {
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(append(append(out, name...), 0), bitsOf([]float64{m[name]})...)
	}
	return string(out)
}

// set makes x what the part keeps, and waits.
func (q *part) set(s *device.Stream, x []float64) error {
	if err := s.Synchronize(); err != nil { // steps before this one read what was
		return err
	}
	copy(q.mirror, x)
	if err := q.upload(s); err != nil {
		q.unsure = true
		return errors.Join(fmt.Errorf("optim: group %d: set counters: %w", q.group.index, err))
	}
	q.unsure, q.ahead, q.told, q.adrift = false, q.recorded, true, 0
	q.fresh = slices.Equal(q.mirror, q.program.InitialCounters())
	for _, p := range q.params {
		p.adopted = false // values were put back, too
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
	n, counted := known[rule.StepCounter]
	if !counted && len(missing) > 0 {
		return nil, fmt.Errorf("optim: group %d: set counters: %q is missing, of %q", g.index, missing, names)
	}
	if counted && (n < 0 || n != math.Floor(n) || n > 1<<53) {
		return nil, fail(rule.StepCounter, "a whole number, at least 0")
	}
	if n > mostReplayed && len(missing) > 0 {
		return nil, fail(rule.StepCounter, "at most %d where %q is not given", mostReplayed, missing)
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
		case f.Name == rule.StepCounter:
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
