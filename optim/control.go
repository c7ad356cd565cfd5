package optim

import (
	"errors"
	"fmt"
	"math"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// Skip says which steps change nothing, with a GradScaler and without one. The zero Skip skips none.
type Skip struct {
	NonFinite bool `json:"non_finite"` // where a gradient is NaN or infinite. A GradScaler skips these anyway
	// NormAbove skips a step where the L2 norm over all gradients, unscaled and before clipping, is NaN or above it. 0 skips none.
	NormAbove float64 `json:"norm_above"`
}

// ScheduleCounts is what schedules count.
type ScheduleCounts uint8

const (
	// AllSteps are those that were enqueued: Steps. The host knows them without waiting.
	AllSteps ScheduleCounts = iota
	// AppliedSteps are those that were not skipped. To know them, Step waits for the stream where steps can be skipped.
	AppliedSteps
)

// control is what decides on the device whether a step is skipped, and keeps the loss scale.
type control struct {
	scaler *GradScaler // nil: none
	skip   Skip
	counts ScheduleCounts

	words          *device.Buffer         // a kernels.Step.Control, once something is measured
	outcome        *device.Buffer         // of the words: those of an Outcome
	state, setting *device.Buffer         // of the words: a GradScalerState's, and the settings
	tally          *device.Buffer         // of the words: steps applied and skipped
	told           *[settingWords]float64 // the settings that the device has; nil: unknown
	given          given
	measured       bool // gradients were measured
	tallied        bool // the device has counted steps since SetSteps
	recount        bool // the device's counts are those from before SetSteps
	recorded       bool // a step was recorded, whose launches give the device settings of their own
	base           int  // steps that were applied and that the device has not counted
}

// Words of kernels.Step.Control.
const (
	tallyWord    = kernels.ControlState + 3
	settingWord  = kernels.ControlState + kernels.ControlStateWords
	settingWords = 8
)

// skips says whether a step can be skipped.
func (c *control) skips() bool { return c.scaler != nil || c.skip != Skip{} || c.given.on }

// allocate makes the words.
func (c *control) allocate(dev *device.Device) error {
	if c.words != nil {
		return nil
	}
	words, err := kernels.NewControl(dev)
	if err != nil {
		return err
	}
	for _, view := range []struct {
		to     **device.Buffer
		lo, hi int
	}{
		{&c.outcome, 0, settingWord}, {&c.state, kernels.ControlState, tallyWord}, {&c.tally, tallyWord, settingWord},
		{&c.setting, settingWord, settingWord + settingWords},
	} {
		if *view.to, err = words.Slice(view.lo, view.hi); err != nil {
			return errors.Join(err, words.Close())
		}
	}
	c.words, c.told = words, new([settingWords]float64)
	return nil
}

func (c *control) close() error {
	if c.words == nil {
		return nil
	}
	b := c.words
	c.words = nil
	return errors.Join(b.Close(), c.given.close())
}

// setControl gives the device settings, and the state if it is not nil, and waits. Where nothing was written, the control is as it was.
func (o *Optimizer) setControl(what string, s *device.Stream, scaler *GradScaler, skip Skip, state []float64) error {
	fail := func(err error) error { return fmt.Errorf("optim: %s: %w", what, err) }
	c := &o.control
	if err := c.allocate(o.backend.Device()); err != nil {
		return fail(err)
	}
	old := *c
	c.scaler, c.skip = scaler, skip
	if err := o.norm.turnOn(o); err != nil {
		c.scaler, c.skip = old.scaler, old.skip
		return fail(err)
	}
	if err := s.Synchronize(); err != nil { // steps before this one read what was
		c.scaler, c.skip = old.scaler, old.skip
		return fail(err)
	}
	if err := c.write(s, state); err != nil {
		return fail(err)
	}
	o.norm.ready = false
	if !o.measures() {
		if err := o.norm.close(); err != nil {
			return fmt.Errorf("optim: %s: it was turned off, but what it replaces could not be freed: %w", what, err)
		}
	}
	return nil
}

// write gives the device the settings, and the state if it is not nil, and waits.
func (c *control) write(s *device.Stream, state []float64) error {
	c.told = nil
	err := c.tell(s)
	if err == nil && state != nil {
		err = device.Upload(s, c.state, state)
	}
	if err == nil {
		err = s.Synchronize()
	}
	return err
}

// settings are what the device is to have.
func (c *control) settings() [settingWords]float64 {
	var g GradScaler
	if c.scaler != nil {
		g = *c.scaler
	}
	scaled, skips := c.scaler != nil, c.scaler != nil || c.skip.NonFinite
	if c.given.on {
		g, scaled, skips = DefaultGradScaler(), c.given.scaled, true
		g.GrowthInterval = math.MaxInt32 // whoever gives the scale changes it
	}
	return [settingWords]float64{flag(scaled), g.GrowthFactor, g.BackoffFactor, float64(g.GrowthInterval), float64(g.Hysteresis),
		float64(float32(g.MinScale)), flag(skips), c.skip.NormAbove}
}

// tell enqueues giving the device the settings, where it has others. What launches of recorded steps have given it is unknown.
func (c *control) tell(s *device.Stream) error {
	settings := c.settings()
	if c.told != nil && *c.told == settings && !c.recorded {
		return nil
	}
	own := settings
	err := device.Upload(s, c.setting, own[:])
	if err == nil {
		c.told = &own
	}
	return err
}

// SetSkip says which steps are skipped from the next one on, and waits for the stream, nil for the default one. A NormAbove out of range is a
// HyperparameterError.
func (o *Optimizer) SetSkip(s *device.Stream, skip Skip) error {
	const what = "set skip"
	s, err := o.on(what, s)
	if err != nil {
		return err
	}
	if err := skip.check(); err != nil {
		return err
	}
	return o.setControl(what, s, o.control.scaler, skip, nil)
}

func (s Skip) check() error {
	r := ranges{algorithm: "skip"}
	r.atLeast0("norm_above", s.NormAbove)
	return r.err
}

// SetScheduleCounts says which steps the schedules of all groups count, from the next step on. They count AllSteps if nobody says. After
// SetSteps the count of AppliedSteps is the number that it was given.
func (o *Optimizer) SetScheduleCounts(c ScheduleCounts) error {
	if err := o.open("set schedule counts"); err != nil {
		return err
	}
	if c > AppliedSteps {
		return fmt.Errorf("optim: set schedule counts: there is no %d: %w", c, device.ErrRange)
	}
	o.control.counts = c
	return nil
}

// scheduleStep is the step of the schedules that comes next.
func (o *Optimizer) scheduleStep(s *device.Stream) (int, error) {
	c := &o.control
	switch {
	case c.counts == AllSteps:
		return o.steps, nil
	case !c.tallied:
		return c.base, nil
	}
	var out Outcome
	err := o.downloadOutcome(s, &out)
	if err == nil {
		err = s.Synchronize()
	}
	if err != nil {
		return 0, fmt.Errorf("optim: step: nothing was updated: applied steps: %w", err)
	}
	return out.AppliedSteps(), nil
}

// setSteps makes n the number of steps that were applied, and 0 of those that were skipped.
func (c *control) setSteps(n int) {
	c.base, c.recount, c.tallied = n, c.recount || c.tallied, false
}

// begin tells the device the settings, and makes its counts 0 after setSteps. Where nothing is measured yet, there is nothing to tell.
func (c *control) begin(s *device.Stream) error {
	if c.words == nil {
		return nil
	}
	if err := c.tell(s); err != nil {
		return err
	}
	if err := c.given.begin(s); err != nil || !c.recount {
		return err
	}
	err := s.Zero(c.tally)
	c.recount = err != nil
	return err
}

// commit counts the step that has been enqueued: on the device, where only the device knows whether it was applied.
func (o *Optimizer) commit(s *device.Stream) error {
	o.control.counted()
	if !o.control.skips() {
		return nil
	}
	update := o.norm.update
	if o.control.given.on {
		update = o.control.given.alone
	}
	return update.Enqueue(s, kernels.Step{Control: o.control.words, Commit: true})
}

// counted notes who counts a step that was enqueued.
func (c *control) counted() {
	if c.skips() {
		c.tallied = true
	} else {
		c.base++
	}
}
