package optim

import (
	"fmt"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
)

// Step enqueues one step on the stream, nil for the device's default stream, and returns. The values are new when
// Stream.Synchronize has returned, and not before: until then no values may be read, and no gradients written, but by work that was enqueued on
// the same stream. Small steps of a CPU are over earlier, which is no promise.
//
// Each tensor that has a gradient takes a step; the others stay as they are. Whatever is wrong is found before anything is
// enqueued: a tensor that was closed (TensorError), a hyperparameter that its schedule has brought out of range
// (HyperparameterError), a scalar that the element type cannot hold (ScalarError), counters that disagree (CountError). Then nothing
// has changed. The first step after a change of tensors, or of hyperparameters that turn a term on or off, compiles what has changed.
func (o *Optimizer) Step(s *device.Stream) error {
	s, err := o.use("step", s)
	if err != nil {
		return err
	}
	if err := o.prepare(s); err != nil {
		return err
	}
	if err := o.norm.enqueue(o, s); err != nil {
		return err
	}
	for i, l := range o.launches {
		if err := l.enqueue(s, o.norm.compiled, o.norm.max); err != nil {
			return fmt.Errorf("optim: step: groups %v were updated, groups %v were not: %w", groupsOf(o.launches[:i]), groupsOf(o.launches[i:]), err)
		}
	}
	for _, g := range o.groups {
		if g != nil {
			g.lastLR = g.now.Hyper[g.lrAt]
		}
	}
	o.steps++
	return nil
}

// prepare does all of a step but to enqueue it.
func (o *Optimizer) prepare(s *device.Stream) error {
	for _, g := range o.groups {
		if g == nil {
			continue
		}
		if err := g.agree(s, o.steps); err != nil {
			return err
		}
		if err := g.follow(o.steps); err != nil {
			return err
		}
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
			if err := g.regroup(s); err != nil {
				return fmt.Errorf("optim: step: nothing was updated: %w", err)
			}
		}
	}
	if err := o.compile(); err != nil {
		return fmt.Errorf("optim: step: nothing was updated: %w", err)
	}
	for _, l := range o.launches {
		for _, q := range l.parts {
			if err := q.foresee(o.steps); err != nil {
				return err
			}
		}
	}
	for _, l := range o.launches {
		for _, q := range l.parts {
			if err := q.refill(s, q.group.now.Hyper); err != nil {
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

// foresee runs the prologue of the step that is being made on the host, and says whether the elements' type can hold what it computes.
func (q *part) foresee(step int) error {
	r := q.program.Rule
	hyper := q.group.now.Hyper
	copy(q.next, q.mirror)
	r.RunPrologue(hyper, q.next, q.scalars, q.program.Options)
	for i, x := range q.scalars {
		if !holds(q.program.DType, x) && !(math.IsInf(x, 0) && slices.ContainsFunc(hyper, isInf)) {
			return &ScalarError{Group: q.group.index, Algorithm: q.group.now.Name, Scalar: r.Scalars[i], Value: x, DType: q.program.DType, Step: step}
		}
	}
	return nil
}

// holds says whether x, rounded to the type, is a finite number. What is too small for the type is 0, and finite.
func holds(t device.DType, x float64) bool {
	if t == device.Float32 {
		x = float64(float32(x))
	}
	return !isInf(x) && !math.IsNaN(x)
}

func isInf(x float64) bool { return math.IsInf(x, 0) }

func groupsOf(launches []*launch) (out []int) {
	for _, l := range launches {
		for _, q := range l.parts {
			out = append(out, q.group.index)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
