package optim

import (
	"fmt"
	"math"

	"github.com/fusestep/fusestep/device"
)

// GradScaler is a dynamic loss scale: gradients are those of the loss times the scale, so that small ones are not lost in 16 bits, and the step
// divides by it. Where a gradient is NaN or infinite, the step is skipped: it changes neither parameters nor state nor counters, of no
// group, and the scale falls. The rules are those of torch.amp.GradScaler, and with Hysteresis and MinScale of Megatron-LM's
// DynamicGradScaler, in float32: see kernels.Control. Start from DefaultGradScaler.
type GradScaler struct {
	InitScale      float64 `json:"init_scale"`      // above 0, and finite in float32
	GrowthFactor   float64 `json:"growth_factor"`   // above 1: the scale is multiplied by it after GrowthInterval steps in a row without overflow
	BackoffFactor  float64 `json:"backoff_factor"`  // above 0 and below 1: the scale is multiplied by it when a step overflows
	GrowthInterval int     `json:"growth_interval"` // at least 1
	Hysteresis     int     `json:"hysteresis"`      // at least 1: with which overflow since the scale last grew it falls. Megatron's default is 2; 1 is torch's rule
	MinScale       float64 `json:"min_scale"`       // at least 0 and at most InitScale: the scale does not fall below it. 0 is torch's rule
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
	g, err := o.control.scaler.with(state)
	if err != nil {
		return err
	}
	return o.setControl(what, s, &g, o.control.skip, state.words())
}

// with is the GradScaler as it is in a state.
func (g GradScaler) with(state GradScalerState) (GradScaler, error) {
	g.GrowthFactor, g.BackoffFactor, g.GrowthInterval = state.GrowthFactor, state.BackoffFactor, state.GrowthInterval
	if err := g.check(); err != nil {
		return g, err
	}
	r := ranges{algorithm: "grad_scaler"}
	r.require("scale", state.Scale, state.Scale >= 0 && float64(float32(state.Scale)) == state.Scale, "at least 0, and a float32")
	r.require("_growth_tracker", float64(state.GrowthTracker), state.GrowthTracker >= 0 && state.GrowthTracker < g.GrowthInterval,
		"at least 0 and below growth_interval")
	r.require("hysteresis_tracker", float64(state.HysteresisTracker), state.HysteresisTracker <= g.Hysteresis, "at most hysteresis")
	return g, r.err
}

// words are the state's words of kernels.Step.Control.
func (s GradScalerState) words() []float64 {
	return []float64{s.Scale, float64(s.GrowthTracker), float64(s.HysteresisTracker)}
}
