package optim

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// State is a tensor's state under PyTorch's name for it, such as "exp_avg": as many elements as the tensor, in place, of the type that
// Stored gives it, else of that which is calculated with: float64 for a value of float64, and float32 for others. A master or remainder beside a
// value of 16 bits is the state "master" or "remainder": see Stored.Master. "ema" is what Averaged keeps, "grad_accumulator" what Accumulate adds to.
// What is written to it counts from the next step on. The buffer is closed with the optimizer, or when the tensor is removed.
func (o *Optimizer) State(tensor, slot string) (*device.Buffer, error) {
	p, err := o.tensor("state", tensor)
	if err != nil {
		return nil, err
	}
	for _, u := range p.stored() {
		if u.what == slot {
			return u.b, nil
		}
	}
	return nil, p.errorf("has no state %q, only %q", slot, p.stateNames())
}

// States are all of a tensor's state, by PyTorch's names for it: the buffers that State returns.
func (o *Optimizer) States(tensor string) (iter.Seq2[string, *device.Buffer], error) {
	p, err := o.tensor("states", tensor)
	if err != nil {
		return nil, err
	}
	return func(yield func(string, *device.Buffer) bool) {
		for _, u := range p.stored() {
			if !yield(u.what, u.b) {
				return
			}
		}
	}, nil
}

func (p *param) stateNames() (out []string) {
	for _, u := range p.stored() {
		out = append(out, u.what)
	}
	return out
}

// StateNames lists the state that each tensor of a group has. A group without tensors has none.
func (o *Optimizer) StateNames(group int) ([]string, error) {
	g, err := o.group("state names", group)
	if err != nil || len(g.params) == 0 {
		return nil, err
	}
	return g.params[0].stateNames(), nil
}

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

// SetGroupCounters puts back what GroupCounters returned, for all tensors of the group, and waits for the stream. "step" alone is
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

// SetTensorCounters is SetGroupCounters of one tensor.
func (o *Optimizer) SetTensorCounters(s *device.Stream, tensor string, counters map[string]float64) error {
	s, err := o.on("set tensor counters", s)
	if err != nil {
		return err
	}
	p, err := o.tensor("set tensor counters", tensor)
	if err != nil {
		return err
	}
	x, err := p.group.restore(p.part.program.Counters, counters)
	if err != nil {
		return err
	}
	if q := p.part; len(q.params) > 1 {
		f, err := q.fork(s, q.program)
		if err != nil {
			return p.fail(err)
		}
		i := slices.Index(q.params, p)
		q.params = slices.Delete(q.params, i, i+1)
		f.params, p.part = []*param{p}, f
		p.group.parts = append(p.group.parts, f)
		q.changed, o.stale = true, true
	}
	return p.part.set(s, x)
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
	q.unsure, q.ahead, q.told, q.adrift = false, false, true, 0
	q.fresh = slices.Equal(q.mirror, q.program.InitialCounters())
	for _, p := range q.params {
		p.stepped = false // values were put back, too
	}
	return nil
}
