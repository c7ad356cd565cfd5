package optim

import (
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
)

// Step enqueues one step on the stream, nil for the device's default stream, and returns. The values are new when
// Stream.Synchronize has returned, and not before: until then no values may be read, and no gradients written, but by work that
// was enqueued on the same stream. Small steps of a CPU are over earlier, which is no promise.
//
// Each tensor that has a gradient takes a step; the others stay as they are. With SetAccumulate on, the gradient is what Accumulate has added up.
// Whatever is wrong is found before anything is enqueued: that nothing was accumulated (ErrNotAccumulated), a tensor that was closed (TensorError),
// a hyperparameter that its schedule has brought out of range (HyperparameterError), a scalar that the type which is calculated in cannot hold
// (ScalarError), counters that disagree (CountError). Then nothing has changed. The first step after a change of tensors, or of hyperparameters
// that turn a term on or off, compiles what has changed.
func (o *Optimizer) Step(s *device.Stream) error {
	s, err := o.use("step", s)
	if err != nil {
		return err
	}
	if err := o.prepare(s); err != nil {
		return err
	}
	return o.enqueue(s)
}

// enqueue enqueues a step that is prepared.
func (o *Optimizer) enqueue(s *device.Stream) error {
	if err := o.norm.enqueue(o, s); err != nil {
		return fmt.Errorf("optim: step: nothing was updated: %w", err)
	}
	o.norm.ready = false
	for i, l := range o.launches {
		if !l.active() {
			continue
		}
		if err := l.enqueue(s, o); err != nil {
			return fmt.Errorf("optim: step: groups %v were updated, groups %v were not: %w", groupsOf(o.launches[:i]), groupsOf(o.launches[i:]), err)
		}
	}
	o.stepped()
	if err := o.commit(s); err != nil {
		return fmt.Errorf("optim: step: all groups were updated, but the loss scale and the counts were not: %w", err)
	}
	return nil
}

// stepped notes a step that was enqueued.
func (o *Optimizer) stepped() {
	for _, g := range o.groups {
		if g != nil {
			g.lastLR, g.taken = g.now.Hyper[g.lrAt], true
		}
	}
	o.steps++
	if o.common.accumulate {
		o.spend()
	}
}

// prepare does all of a step but to enqueue it.
func (o *Optimizer) prepare(s *device.Stream) error {
	o.last = s
	if o.common.accumulate && o.sums.taken == 0 {
		return fmt.Errorf("optim: step: nothing was updated: %w", ErrNotAccumulated)
	}
	step, err := o.scheduleStep(s)
	if err != nil {
		return err
	}
	for _, g := range o.groups {
		if g == nil {
			continue
		}
		if err := g.agree(s, o.steps); err != nil {
			return err
		}
		if err := g.follow(step); err != nil {
			return err
		}
	}
	if o.common.accumulate || o.toggled {
		o.activity()
	}
	for _, g := range o.groups {
		if g == nil {
			continue
		}
		if err := o.reprogram(g, g.now); err != nil {
			return err
		}
		if g.mixed() {
			o.stale = true
			o.eval.moved()
			if err := g.regroup(s); err != nil {
				return fmt.Errorf("optim: step: nothing was updated: %w", err)
			}
		}
	}
	if err := o.compile(s); err != nil {
		return fmt.Errorf("optim: step: nothing was updated: %w", err)
	}
	if err := together(o.launches); err != nil {
		return err
	}
	for _, l := range o.launches {
		for _, q := range l.parts {
			if !q.active() {
				continue
			}
			err := q.foresee(o.steps)
			if err != nil && q.ahead { // steps may have been skipped
				if err = q.settle(s); err == nil {
					err = q.foresee(o.steps)
				}
			}
			if err != nil {
				return err
			}
		}
		if err := l.agree(); err != nil {
			return err
		}
	}
	for _, l := range o.launches {
		for _, q := range l.parts {
			if !q.active() {
				continue
			}
			if err := q.refill(s, q.group.now.Hyper); err != nil {
				return err
			}
			if err := q.adoptFirst(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// mixed says whether a part of the group has tensors with and without a gradient, or does not do what it is compiled to do.
func (g *group) mixed() bool {
	return slices.ContainsFunc(g.parts, func(q *part) bool { return q.mixed })
}

func groupsOf(launches []*launch) (out []int) {
	for _, l := range launches {
		for _, q := range l.parts {
			out = append(out, q.group.index)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
