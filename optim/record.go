package optim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// ErrUnready is in the error of a Record where the step is not like one that has been taken: take such a step first, outside of the capture.
var ErrUnready = errors.New("no step like it has been taken")

// ErrRecorded is in the error of a step, and of other calls, that would part tensors whose step was recorded together: launches of the record go on
// stepping all of them.
var ErrRecorded = errors.New("a step is recorded, whose tensors stay together")

// Given are numbers on the device that a recorded step reads each time it runs.
type Given struct {
	Scale, FoundInf *device.Buffer         // as of StepScaled
	LR              map[int]*device.Buffer // by group: a float64 each that is the learning rate, in place of the group's
}

// record is what belongs to a step that was recorded. Launches of the graph use it, so it stays as long as the optimizer.
type record struct {
	norm     kernels.Update // nil where nothing is measured
	launches []*launch
	settings *device.Buffer // of the control; nil where there is none
}

func (r *record) close() error {
	errs := []error{closeLaunches(r.launches)}
	if r.norm != nil {
		errs = append(errs, r.norm.Close())
	}
	if r.settings != nil {
		errs = append(errs, r.settings.Close())
	}
	return errors.Join(errs...)
}

// Record enqueues the step that Step would take now on a stream that its owner captures in a CUDA graph, as PyTorch captures its own, and takes none.
// Each launch of the graph is then a step: the device counts it, and computes what follows from the count, such as bias corrections. Nobody is asked
// between launches.
//
// All else is as it is now: hyperparameters, schedules, limits of clipping, and where values and gradients are. Only what given has is read at each
// launch, and the types and ranges of that are not checked then. Steps, schedules and LastLR do not see launches: SetSteps tells them.
// TensorCounters, Outcome, GradNorm and StateDict have what launches have done, where they are asked on a stream that waits for these. Launches may
// be mixed with Step, whose tensors must be left out of steps together, or not at all: ErrRecorded. What the record needs is kept until Close, after
// which the graph must not be launched.
//
// A step must have been taken, of the same tensors, since counters were set; and no schedule may turn a term on or off now. Else Record fails with
// ErrUnready: it does nothing on the stream but to record. With SetAccumulate on, with schedules that count applied steps, and on a device that
// records nothing it fails with device.ErrUnsupported, and with that in a TensorError where groups would give different scalars to what tensors have
// together, now or in a later launch: where learning rates are on the device, that is one buffer. On an error the capture is to be given up.
func (o *Optimizer) Record(s *device.Stream, given Given) error {
	s, err := o.use("record", s)
	if err != nil {
		return err
	}
	for _, g := range o.all() { // as Capture has it
		now, hyper := g.now, slices.Clone(g.hyper)
		defer func() {
			g.now, g.rateAt = now, nil
			copy(g.hyper, hyper)
		}()
	}
	if err := o.record(s, given); err != nil {
		return fmt.Errorf("optim: record: nothing was recorded: %w", err)
	}
	return nil
}

func (o *Optimizer) record(s *device.Stream, given Given) error {
	numbers := [2]*device.Buffer{given.Scale, given.FoundInf}
	if err := o.give(numbers); err != nil {
		return fmt.Errorf("loss scale: %w", err)
	}
	g := &o.control.given
	defer g.take()
	launches, err := o.ready(given.LR)
	if err != nil {
		return err
	}
	r := &record{}
	err = o.equipRecord(r, launches)
	if err == nil {
		err = o.enqueueRecord(s, r, numbers)
	}
	if err != nil {
		return errors.Join(err, r.close())
	}
	o.records = append(o.records, r)
	for _, l := range r.launches {
		for _, q := range l.parts {
			q.recorded, q.ahead = true, true
		}
	}
	if r.norm != nil {
		c := &o.control
		o.norm.measured, o.norm.ready, c.measured, c.recorded = true, false, true, true
		c.tallied = c.tallied || c.skips()
		g.recorded = g.recorded || g.found
	}
	return nil
}

// ready makes what the next step is given, as prepare does, and the launches that it needs, or says why the step cannot be recorded. It does nothing on
// the device.
func (o *Optimizer) ready(rates map[int]*device.Buffer) ([]*launch, error) {
	c := &o.control
	switch {
	case o.common.accumulate:
		return nil, fmt.Errorf("SetAccumulate is on: %w", device.ErrUnsupported)
	case c.counts == AppliedSteps && (c.skips() || c.tallied):
		return nil, fmt.Errorf("schedules count applied steps: %w", device.ErrUnsupported)
	}
	step := o.steps
	if c.counts == AppliedSteps {
		step = c.base
	}
	for index, b := range rates {
		g, err := o.group("learning rate", index)
		if err != nil {
			return nil, err
		}
		if b.DType() != device.Float64 || b.Len() != 1 {
			return nil, fmt.Errorf("learning rate of group %d: %d %s, must be one float64: %w", index, b.Len(), b.DType(), device.ErrRange)
		}
		g.rateAt = b
	}
	for _, g := range o.all() {
		if err := g.follow(step); err != nil {
			return nil, err
		}
		for _, q := range g.parts {
			if err := q.ready(); err != nil {
				return nil, err
			}
			if !q.active() {
				continue
			}
			if err := q.foresee(o.steps); err != nil {
				return nil, err
			}
		}
	}
	launches := plan(o.all(), false)
	for _, l := range launches {
		if err := l.agreeAlways(); err != nil {
			return nil, err
		}
	}
	return launches, nil
}

// ready says whether the part's next step is like one that was taken.
func (q *part) ready() error {
	if len(q.params) == 0 {
		return nil
	}
	starts := q.fresh && (!q.group.taken || q.refills(q.group.now.Hyper))
	unadopted := slices.ContainsFunc(q.mastered(), func(p *param) bool { return !p.adopted })
	if q.mixed || !q.runs(q.group.now) || q.active() && (q.unsure || q.told || q.adrift != 0 || starts || unadopted) {
		return q.params[0].fail(ErrUnready)
	}
	return nil
}

// equipRecord compiles the step, and gives it what changes from step to step of others. It waits for a stream of the optimizer's own.
func (o *Optimizer) equipRecord(r *record, launches []*launch) (err error) {
	dev := o.backend.Device()
	own := dev.DefaultStream()
	if o.measures() {
		work := kernels.Work{Program: kernels.Norm()}
		if o.measuresGradients() {
			work, _ = o.normWork()
		}
		if r.norm, err = o.backend.Compile(work); err != nil {
			r.norm = nil
			return fmt.Errorf("gradient norm: %w", err)
		}
		if err := o.control.allocate(dev); err != nil {
			return err
		}
		if r.settings, err = dev.Alloc(device.Float64, settingWords); err != nil {
			return err
		}
		settings := o.control.settings()
		if err := device.Upload(own, r.settings, settings[:]); err != nil {
			return err
		}
	}
	for _, l := range launches {
		l.work = l.describe()
		if l.update, err = o.backend.Compile(l.work); err != nil {
			return err
		}
		r.launches = append(r.launches, l)
	}
	if err := o.eachRecorded(own, r, kernels.Capturable.Feed); err != nil {
		return err
	}
	return own.Synchronize()
}

// enqueueRecord enqueues what each launch of the graph does.
func (o *Optimizer) enqueueRecord(s *device.Stream, r *record, numbers [2]*device.Buffer) error {
	g := &o.control.given
	if r.norm != nil {
		if err := g.copy(s, numbers); err != nil {
			return err
		}
		if err := s.Copy(o.control.setting, r.settings); err != nil {
			return err
		}
		left := g.left
		found, err := o.control.words.Slice(kernels.ControlFound, kernels.ControlFound+1)
		if err == nil && !g.found { // steps between launches may leave it
			err = s.Zero(found)
		}
		if err == nil {
			err = g.begin(s)
		}
		if g.left = left || g.left; err != nil {
			return err
		}
	}
	return o.eachRecorded(s, r, kernels.Capturable.Launch)
}

func (o *Optimizer) eachRecorded(s *device.Stream, r *record, f func(kernels.Capturable, *device.Stream, kernels.Step) error) error {
	c := Captured{optimizer: o, norm: r.norm, launches: r.launches, skips: o.control.skips()}
	return c.each(s, f)
}
