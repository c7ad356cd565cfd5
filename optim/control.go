package optim

import (
	"errors"
	"fmt"
	"math"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// GradScaler is a dynamic loss scale: gradients are those of the loss times the scale, so that small ones are not lost in 16 bits, and the step
// divides by it. Where a gradient is NaN or infinite, the step is skipped: it changes neither parameters nor state nor counters, of no
// group, and the scale falls. The rules are those of torch.amp.GradScaler, and with Hysteresis and MinScale of Megatron-LM's
// DynamicGradScaler, in float32: see kernels.Control. Start from DefaultGradScaler.
type GradScaler struct {
	InitScale      float64 // above 0, and finite in float32
	GrowthFactor   float64 // above 1: the scale is multiplied by it after GrowthInterval steps in a row without overflow
	BackoffFactor  float64 // above 0 and below 1: the scale is multiplied by it when a step overflows
	GrowthInterval int     // at least 1
	Hysteresis     int     // at least 1: with which overflow since the scale last grew it falls. Megatron's default is 2; 1 is torch's rule
	MinScale       float64 // at least 0 and at most InitScale: the scale does not fall below it. 0 is torch's rule
}

// DefaultGradScaler has torch's defaults.
func DefaultGradScaler() GradScaler {
	return GradScaler{InitScale: 1 << 16, GrowthFactor: 2, BackoffFactor: 0.5, GrowthInterval: 2000, Hysteresis: 1}
}

func (g *GradScaler) check() error {
	r := ranges{algorithm: "grad_scaler"}
	r.require("init_scale", g.InitScale, float32(g.InitScale) > 0 && float32(g.InitScale) <= math.MaxFloat32, "above 0, and finite in float32")
	r.require("growth_factor", g.GrowthFactor, g.GrowthFactor > 1, "above 1, and finite")
	r.require("backoff_factor", g.BackoffFactor, g.BackoffFactor > 0 && g.BackoffFactor < 1, "above 0 and below 1")
	r.count("growth_interval", g.GrowthInterval, 1)
	r.count("hysteresis", g.Hysteresis, 1)
	r.require("min_scale", g.MinScale, g.MinScale >= 0 && g.MinScale <= g.InitScale, "at least 0 and at most init_scale")
	return r.err
}

// GradScalerState is a GradScaler in a training, to save and to put back, under the names of torch's state_dict and, for hysteresis, Megatron's.
type GradScalerState struct {
	Scale             float64 `json:"scale"` // a float32
	GrowthFactor      float64 `json:"growth_factor"`
	BackoffFactor     float64 `json:"backoff_factor"`
	GrowthInterval    int     `json:"growth_interval"`
	GrowthTracker     int     `json:"_growth_tracker"`    // steps in a row without overflow
	HysteresisTracker int     `json:"hysteresis_tracker"` // overflows with which the scale falls; with 1 and less, the next
}

// Skip says which steps change nothing, with a GradScaler and without one. The zero Skip skips none.
type Skip struct {
	NonFinite bool // where a gradient is NaN or infinite. A GradScaler skips these anyway
	// NormAbove skips a step where the L2 norm over all gradients, unscaled and before clipping, is NaN or above it. 0 skips none.
	NormAbove float64
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

	words          *device.Buffer // a kernels.Step.Control, once something is measured
	outcome        *device.Buffer // of the words: those of an Outcome
	state, setting *device.Buffer // of the words: a GradScalerState's, and the settings
	tally          *device.Buffer // of the words: steps applied and skipped
	measured       bool           // gradients were measured
	tallied        bool           // the device has counted steps since SetSteps
	recount        bool           // the device's counts are those from before SetSteps
	base           int            // steps that were applied and that the device has not counted
}

// Words of kernels.Step.Control.
const (
	tallyWord    = kernels.ControlState + 3
	settingWord  = kernels.ControlState + kernels.ControlStateWords
	settingWords = 8
)

// skips says whether a step can be skipped.
func (c *control) skips() bool { return c.scaler != nil || c.skip != Skip{} }

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
	c.words = words
	return nil
}

func (c *control) close() error {
	if c.words == nil {
		return nil
	}
	b := c.words
	c.words = nil
	return b.Close()
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
		return err
	}
	setting := make([]float64, settingWords)
	if scaler != nil {
		copy(setting, []float64{1, scaler.GrowthFactor, scaler.BackoffFactor, float64(scaler.GrowthInterval), float64(scaler.Hysteresis),
			float64(float32(scaler.MinScale))})
	}
	if scaler != nil || skip.NonFinite {
		setting[6] = 1
	}
	setting[7] = skip.NormAbove
	if err := s.Synchronize(); err != nil { // steps before this one read what was
		c.scaler, c.skip = old.scaler, old.skip
		return fail(err)
	}
	err := device.Upload(s, c.setting, setting)
	if err == nil && state != nil {
		err = device.Upload(s, c.state, state)
	}
	if err == nil {
		err = s.Synchronize()
	}
	if err != nil {
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

// SetGradScaler gives the optimizer a loss scale, nil none, from the next step on, and waits for the stream, nil for the default one. The
// gradients are then those of the loss times LossScale. The scale starts at InitScale; the GradScaler is copied. What is out of range is a
// HyperparameterError, and nothing has changed. The gradient buffers stay as they are: a step unscales as it reads them.
func (o *Optimizer) SetGradScaler(s *device.Stream, g *GradScaler) error {
	const what = "set grad scaler"
	s, err := o.on(what, s)
	if err != nil {
		return err
	}
	var state []float64
	if g != nil {
		if err := g.check(); err != nil {
			return err
		}
		own := *g
		g, state = &own, []float64{float64(float32(own.InitScale)), 0, float64(own.Hysteresis)}
	}
	return o.setControl(what, s, g, o.control.skip, state)
}

// SetSkip says which steps are skipped from the next one on, and waits for the stream, nil for the default one. A NormAbove out of range is a
// HyperparameterError.
func (o *Optimizer) SetSkip(s *device.Stream, skip Skip) error {
	const what = "set skip"
	s, err := o.on(what, s)
	if err != nil {
		return err
	}
	r := ranges{algorithm: "skip"}
	r.atLeast0("norm_above", skip.NormAbove)
	if r.err != nil {
		return r.err
	}
	return o.setControl(what, s, o.control.scaler, skip, nil)
}

// scaled says that the call needs a GradScaler.
func (o *Optimizer) scaled(what string, s *device.Stream) (*device.Stream, error) {
	s, err := o.on(what, s)
	if err == nil && o.control.scaler == nil {
		err = fmt.Errorf("optim: %s: there is no GradScaler", what)
	}
	return s, err
}

// LossScale is where the loss scale is on the device: one float64, which is a float32's number. Work on the stream of the steps reads the
// scale behind the step before it. Nobody else may write it. It is closed with the optimizer.
func (o *Optimizer) LossScale() (*device.Buffer, error) {
	if _, err := o.scaled("loss scale", nil); err != nil {
		return nil, err
	}
	return o.control.state.Slice(0, 1)
}

// GradScalerState waits for the stream, nil for the default one, and returns the GradScaler's state.
func (o *Optimizer) GradScalerState(s *device.Stream) (GradScalerState, error) {
	const what = "grad scaler state"
	s, err := o.scaled(what, s)
	if err != nil {
		return GradScalerState{}, err
	}
	x := make([]float64, o.control.state.Len())
	if err = device.Download(s, x, o.control.state); err == nil {
		err = s.Synchronize()
	}
	if err != nil {
		return GradScalerState{}, fmt.Errorf("optim: %s: %w", what, err)
	}
	g := o.control.scaler
	return GradScalerState{Scale: x[0], GrowthFactor: g.GrowthFactor, BackoffFactor: g.BackoffFactor, GrowthInterval: g.GrowthInterval,
		GrowthTracker: int(x[1]), HysteresisTracker: int(x[2])}, nil
}

// SetGradScalerState puts back what GradScalerState returned, and waits for the stream, nil for the default one. Hysteresis and MinScale stay
// those of the GradScaler. What is out of range is a HyperparameterError, and nothing has changed.
func (o *Optimizer) SetGradScalerState(s *device.Stream, state GradScalerState) error {
	const what = "set grad scaler state"
	s, err := o.scaled(what, s)
	if err != nil {
		return err
	}
	g := *o.control.scaler
	g.GrowthFactor, g.BackoffFactor, g.GrowthInterval = state.GrowthFactor, state.BackoffFactor, state.GrowthInterval
	if err := g.check(); err != nil {
		return err
	}
	r := ranges{algorithm: "grad_scaler"}
	r.require("scale", state.Scale, state.Scale >= 0 && float64(float32(state.Scale)) == state.Scale, "at least 0, and a float32")
	r.require("_growth_tracker", float64(state.GrowthTracker), state.GrowthTracker >= 0 && state.GrowthTracker < g.GrowthInterval,
		"at least 0 and below growth_interval")
	r.require("hysteresis_tracker", float64(state.HysteresisTracker), state.HysteresisTracker <= g.Hysteresis, "at most hysteresis")
	if r.err != nil {
		return r.err
	}
	return o.setControl(what, s, &g, o.control.skip, []float64{state.Scale, float64(state.GrowthTracker), float64(state.HysteresisTracker)})
}

// SetScheduleCounts says which steps the schedules of all groups count, from the next step on. They count AllSteps if nobody says. A training
// that counts AppliedSteps goes on after SetSteps of Outcome.AppliedSteps.
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

// begin makes the device's counts 0 after setSteps.
func (c *control) begin(s *device.Stream) error {
	if !c.recount {
		return nil
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
	return o.norm.update.Enqueue(s, kernels.Step{Control: o.control.words, Commit: true})
}

// counted notes who counts a step that was enqueued.
func (c *control) counted() {
	if c.skips() {
		c.tallied = true
	} else {
		c.base++
	}
}

// Outcome is what became of a step.
type Outcome struct {
	words [settingWord]float64
	base  int
}

// Applied says that the step was applied, and not skipped.
func (o *Outcome) Applied() bool { return o.words[kernels.ControlSkip] != 1 }

// FoundInf says that a gradient was NaN or infinite.
func (o *Outcome) FoundInf() bool { return o.words[kernels.ControlFoundInf] == 1 }

// GradNorm is the L2 norm over all gradients, unscaled and before clipping.
func (o *Outcome) GradNorm() float64 { return o.words[kernels.ControlNorm] }

// LossScale is the loss scale behind the step; 0 where there has been no GradScaler.
func (o *Outcome) LossScale() float64 { return o.words[kernels.ControlState] }

// AppliedSteps is how many steps were applied so far, those included that SetSteps was given.
func (o *Outcome) AppliedSteps() int { return o.base + int(o.words[tallyWord]) }

// SkippedSteps is how many steps were skipped so far, since SetSteps.
func (o *Outcome) SkippedSteps() int { return int(o.words[tallyWord+1]) }

// Outcome waits for the stream, nil for the default one, and returns what became of the last step, or what MeasureGradNorm has made of the next
// one's gradients. It fails before the first step that SetGradScaler, SetSkip or SetClipNorm measures the gradients for.
func (o *Optimizer) Outcome(s *device.Stream) (Outcome, error) {
	s, err := o.on("outcome", s)
	if err != nil {
		return Outcome{}, err
	}
	var out Outcome
	if err = o.DownloadOutcome(s, &out); err == nil {
		err = s.Synchronize()
	}
	return out, err
}

// DownloadOutcome is Outcome without waiting: it enqueues writing to a place that the caller reads once the stream has come so far, which an
// event tells.
func (o *Optimizer) DownloadOutcome(s *device.Stream, to *Outcome) error {
	s, err := o.on("outcome", s)
	if err != nil {
		return err
	}
	if !o.control.measured {
		return errors.New("optim: outcome: no step was measured")
	}
	if err := o.downloadOutcome(s, to); err != nil {
		return fmt.Errorf("optim: outcome: %w", err)
	}
	return nil
}

func (o *Optimizer) downloadOutcome(s *device.Stream, to *Outcome) error {
	c := &o.control
	if err := c.begin(s); err != nil {
		return err
	}
	to.base = c.base
	return device.Download(s, to.words[:], c.outcome)
}

// MeasureGradNorm enqueues measuring the gradients now, so that GradNorm and Outcome are theirs. The next Step does not measure them again: until
// then they must stay. With SetAccumulate on they are the sums, and another Accumulate has them measured again. Without SetClipNorm, SetGradScaler
// and SetSkip it fails, and with ErrNotAccumulated.
func (o *Optimizer) MeasureGradNorm(s *device.Stream) error {
	const what = "measure gradient norm"
	s, err := o.use(what, s)
	if err != nil {
		return err
	}
	if !o.measures() {
		return errOff(what)
	}
	if o.common.accumulate && o.sums.taken == 0 {
		return fmt.Errorf("optim: %s: %w", what, ErrNotAccumulated)
	}
	o.norm.ready = false // the gradients may be others than those that were measured
	if err := o.norm.enqueue(o, s); err != nil {
		return fmt.Errorf("optim: %s: %w", what, err)
	}
	o.norm.ready = true
	return nil
}
