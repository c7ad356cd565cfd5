package optim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// ErrStale is in the error of a Replay where a step is no longer what was captured, and of numbers of a LiveStateDict that were not read in time. Tensors were added, removed, rebound or left out, clipping
// was turned on or off, or a hyperparameter, by its schedule too, turned a term on or off. Step works as before, and so does a new Capture.
var ErrStale = errors.New("is not what was captured")

// Captured is a step that was captured: see Optimizer.Capture.
type Captured struct {
	optimizer *Optimizer
	norm      kernels.Update // nil where gradients are not measured
	made      int            // which of the optimizer's it is
	skips     bool           // a step can be skipped
	launches  []*launch
	followed  int           // Optimizer.followed
	graph     *device.Graph // nil where the device records nothing
	closed    bool
}

// Capture records the step that Step would enqueue now, and takes none. On a GPU the record is a CUDA graph: Captured.Replay enqueues a small
// copy for each program and one launch. On a CPU nothing is recorded, and Replay is Step. Either way the bits are Step's.
//
// Hyperparameters, schedules, the limit of clipping and the number of steps are not recorded: each replay has those of its step. Tensors are:
// their buffers are those of now. The stream, nil for the default one, is for what has to be on the device before a step, such as state that
// does not begin at 0. Capture fails as Step does, and with the driver's errors.
func (o *Optimizer) Capture(s *device.Stream) (*Captured, error) {
	s, err := o.use("capture", s)
	if err != nil {
		return nil, err
	}
	for _, g := range o.all() { // as EvalParams looks at the last step
		now, hyper := g.now, slices.Clone(g.hyper)
		defer func() {
			g.now = now
			copy(g.hyper, hyper)
		}()
	}
	if err := o.prepare(s); err != nil {
		return nil, err
	}
	if err := o.norm.compile(o, s); err != nil {
		return nil, fmt.Errorf("optim: capture: %w", err)
	}
	c := &Captured{optimizer: o, norm: o.norm.update, made: o.norm.made, skips: o.control.skips(), launches: slices.Clone(o.launches), followed: o.followed}
	c.graph, err = o.backend.Device().Capture(func(s *device.Stream) error { return c.each(s, kernels.Capturable.Launch) })
	if err != nil && !errors.Is(err, device.ErrUnsupported) {
		return nil, fmt.Errorf("optim: capture: %w", err)
	}
	return c, nil
}

// each calls f for every update, in the order of a step. It fails with device.ErrUnsupported where an update is not Capturable.
func (c *Captured) each(s *device.Stream, f func(kernels.Capturable, *device.Stream, kernels.Step) error) error {
	o := c.optimizer
	do := func(u kernels.Update, step kernels.Step) error {
		if u, ok := u.(kernels.Capturable); ok {
			return f(u, s, step)
		}
		return device.ErrUnsupported
	}
	if c.norm != nil {
		if err := do(c.norm, kernels.Step{Control: o.control.words}); err != nil {
			return fmt.Errorf("gradient norm: %w", err)
		}
	}
	for _, l := range c.launches {
		l.fill(o)
		if err := do(l.update, l.step); err != nil {
			return err
		}
	}
	if c.skips {
		return do(c.norm, kernels.Step{Control: o.control.words, Commit: true})
	}
	return nil
}

// current says whether the optimizer's next step, which is prepared, is the one that was captured.
func (c *Captured) current() bool {
	o := c.optimizer
	measures := c.norm != nil
	return o.norm.made == c.made && (o.norm.update != nil) == measures && (!measures || !o.norm.stale) && o.control.skips() == c.skips &&
		slices.Equal(o.launches, c.launches) && o.followed == c.followed
}

// Replay takes a step as Step does, from the record, and may be mixed with Step. It fails as Step does, with device.ErrClosed, and with
// ErrStale; then nothing is updated. It does not capture again by itself, as that allocates and waits.
func (c *Captured) Replay(s *device.Stream) error {
	if c == nil || c.optimizer == nil || c.closed {
		return fmt.Errorf("optim: replay: captured step is %w", device.ErrClosed)
	}
	o := c.optimizer
	s, err := o.use("replay", s)
	if err != nil {
		return err
	}
	if err := o.prepare(s); err != nil {
		return err
	}
	switch {
	case !c.current():
		return fmt.Errorf("optim: replay: nothing was updated: a step %w: capture again", ErrStale)
	case c.graph == nil:
		return o.enqueue(s)
	}
	if err := o.control.begin(s); err != nil {
		return fmt.Errorf("optim: replay: nothing was updated: %w", err)
	}
	if err := c.each(s, kernels.Capturable.Feed); err != nil {
		return fmt.Errorf("optim: replay: nothing was updated: %w", err)
	}
	if err := s.Launch(c.graph); err != nil {
		return fmt.Errorf("optim: replay: nothing was updated: %w", err)
	}
	o.norm.measured, o.norm.ready = c.norm != nil, false
	o.control.measured = o.control.measured || c.norm != nil
	for _, l := range c.launches {
		l.stepped(c.skips)
	}
	o.stepped()
	o.control.counted()
	return nil
}

// Close gives the captured step back, after the replays that were enqueued. The optimizer stays. Close it before the device.
func (c *Captured) Close() error {
	if c == nil || c.optimizer == nil || c.closed {
		return fmt.Errorf("optim: close: captured step is %w", device.ErrClosed)
	}
	c.closed = true
	if c.graph == nil {
		return nil
	}
	return c.graph.Close()
}
