package optim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// The errors of steps and accumulation that do not fit each other.
var (
	ErrNotAccumulating = errors.New("SetAccumulate is off")
	ErrNotAccumulated  = errors.New("no gradient was accumulated since the last step")
	ErrAccumulated     = errors.New("gradients were accumulated since the last step")
)

// accumulator is the state that gradients are added up in.
const accumulator = "grad_accumulator"

// sums is what adds gradients up.
type sums struct {
	params  []*param         // that have a gradient
	updates []kernels.Update // one for each type of gradient
	none    *device.Buffer   // their counters
	step    kernels.Step     // of each
	stale   bool             // gradients are not those that were compiled
	taken   int              // calls of Accumulate since the last step
}

// moved says that gradients are elsewhere, or others.
func (a *sums) moved() { a.stale = true }

func (a *sums) close() error {
	var errs []error
	for _, u := range a.updates {
		errs = append(errs, u.Close())
	}
	if a.none != nil {
		errs = append(errs, a.none.Close())
	}
	a.updates, a.none, a.stale = nil, nil, true
	return errors.Join(errs...)
}

// SetAccumulate says whether steps take sums of gradients: those of micro-batches that do not fit into memory together. Then a step is
//
//	for range microBatches {
//		gradient() // yours, into the gradient buffers
//		err = opt.Accumulate(s)
//	}
//	err = opt.Step(s)
//
// Each tensor gets a sum, state "grad_accumulator", of the type that is calculated with: float64 for a value of float64, float32 for
// others, whatever type gradients have. Turned off, it keeps the memory. Accumulate adds the gradient to it, each element with one
// addition, so that the sum has the same bits everywhere. Step takes the sum for the gradient, clips it if it is to, and sets it to 0, in
// its own pass, also where the step is skipped. It is a sum and no mean: who wants the gradient of a mean over all micro-batches divides each one's loss by their number.
//
// A tensor takes the step if one of the Accumulates since the step before had its gradient; SetGrad may leave it out of some of them.
// A StateDict between micro-batches has the sums, and a training goes on from it with the next of them.
//
// ErrAccumulated is in the error if gradients wait for a Step.
func (o *Optimizer) SetAccumulate(on bool) error {
	if err := o.open("set accumulate"); err != nil {
		return err
	}
	if on == o.common.accumulate {
		return nil
	}
	if o.sums.taken > 0 {
		return fmt.Errorf("optim: set accumulate: %w", ErrAccumulated)
	}
	c := o.common
	c.accumulate = on
	if on {
		o.memory.unmade = true
		for _, g := range o.all() {
			for _, q := range g.parts {
				if err := q.allocateSums(o.backend.Device()); err != nil {
					return fmt.Errorf("optim: set accumulate: group %d: %w", g.index, err)
				}
			}
		}
	}
	if err := o.setCommon(c); err != nil {
		return err
	}
	for _, g := range o.all() {
		g.moves = nil
		for _, q := range g.parts {
			q.mixed, q.changed = true, true // what steps take for gradients is elsewhere, and may be of another type
		}
	}
	o.norm.moved()
	return nil
}

// allocateSums gives the part's tensors a sum of 0, if they have none.
func (q *part) allocateSums(dev *device.Device) error {
	if err := q.checkSums(); err != nil {
		return err
	}
	k := len(q.group.slots()) - 1
	if !slices.ContainsFunc(q.params, func(p *param) bool { return p.slots[k] == nil }) {
		return nil
	}
	offsets, n, line := q.places(q.program, rule.OfElements)
	buffer, err := q.place(dev, q.program.Compute, rule.OfElements, offsets, stagger(k, n, line), n, func(p *param) **device.Buffer { return &p.slots[k] })
	s := dev.DefaultStream()
	if err == nil {
		err = s.Zero(buffer)
	}
	if err != nil {
		return fmt.Errorf("state %s: %w", accumulator, err)
	}
	return s.Synchronize()
}

// checkSums says whether the part's tensors can have sums.
func (q *part) checkSums() error {
	if q.program.Rule.Slot(accumulator) >= 0 {
		return fmt.Errorf("rule %s has state %q of its own", q.program.Rule.Name, accumulator)
	}
	return nil
}

// Accumulate enqueues adding each tensor's gradient to its sum, and returns: see SetAccumulate. Tensors without a gradient are passed
// over. With SetZeroGrad on, the same pass sets the gradients to 0. The stream is as Step's.
func (o *Optimizer) Accumulate(s *device.Stream) error {
	s, err := o.use("accumulate", s)
	if err != nil {
		return err
	}
	if !o.common.accumulate {
		return fmt.Errorf("optim: accumulate: %w", ErrNotAccumulating)
	}
	if err := o.sums.compile(o); err != nil {
		return fmt.Errorf("optim: accumulate: nothing was added: %w", err)
	}
	o.norm.ready, o.last = false, s
	for i, u := range o.sums.updates {
		if err := u.Enqueue(s, o.sums.step); err != nil {
			return fmt.Errorf("optim: accumulate: %d of %d types of gradients were added: %w", i, len(o.sums.updates), err)
		}
	}
	for _, p := range o.sums.params {
		p.summed = true
	}
	o.sums.taken++
	return nil
}

// compile makes what adds gradients, if they are not those it was made for.
func (a *sums) compile(o *Optimizer) error {
	if !a.stale {
		return nil
	}
	if err := a.close(); err != nil {
		return err
	}
	none, err := o.backend.Device().Alloc(device.Float64, 0)
	if err != nil {
		return err
	}
	a.none, a.params = none, o.where(func(p *param) bool { return p.Grad != nil })
	a.step.Groups = []kernels.GroupStep{{Hyper: []float64{0}, Scale: 1}}
	works := map[kernels.Spec]*kernels.Work{}
	var specs []kernels.Spec
	for _, p := range a.params {
		spec := kernels.Spec{Rule: rules.AccumulateRule().Rule, Alone: true, Compute: format.Compute(p.Value.DType()),
			Formats: "grad=" + p.Grad.DType().Short()}
		if o.common.zeroGrad {
			spec.Around = rule.ZeroGrad
		}
		w := works[spec]
		if w == nil {
			program, err := kernels.New(spec)
			if err != nil {
				return err
			}
			w = &kernels.Work{Program: program, Counters: []*device.Buffer{none}}
			works[spec], specs = w, append(specs, spec)
		}
		t := kernels.Tensor{ID: p.id, Shape: []int{p.Value.Len()}, Planes: []*device.Buffer{p.grad(), p.Grad}}
		w.Tensors = append(w.Tensors, t)
	}
	for _, spec := range specs {
		u, err := o.backend.Compile(*works[spec])
		if err != nil {
			return err
		}
		a.updates = append(a.updates, u)
	}
	a.stale = false
	return nil
}

// spend says that a step has taken the sums, and set them to 0.
func (o *Optimizer) spend() {
	o.sums.taken = 0
	for _, g := range o.groups {
		if g == nil {
			continue
		}
		for _, p := range g.params {
			p.summed = false
		}
	}
}

// activity finds the parts whose tensors do not all take this step, or take it where they did not take the last one.
func (o *Optimizer) activity() {
	o.toggled = false
	for _, g := range o.groups {
		if g == nil {
			continue
		}
		for _, q := range g.parts {
			active := q.active()
			q.mixed = q.mixed || slices.ContainsFunc(q.params, func(p *param) bool { return p.active() != active })
			switch {
			case q.mixed, active != q.launched && o.mover == nil:
				o.stale = true
				o.norm.moved()
			case active != q.launched:
				q.moved |= gradients | replaced
				o.elsewhere = true
				o.norm.follow(true)
			}
		}
	}
}
