package optim_test

import (
	_ "embed"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// N5: a scalar that the type cannot hold is an error that names it, and nothing is updated, on everything that runs a step.
func TestScalarsMustBeFinite(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		value, grad := h.buffer(device.Float32, []float64{1}), h.buffer(device.Float32, []float64{0})
		run := func(alg optim.Algorithm, s optim.Schedule, steps int, want string) {
			t.Helper()
			o, err := optim.New(b, alg, []optim.Param{{Name: "w", Value: value, Grad: grad}})
			require.NoError(t, err)
			defer o.Close()
			require.NoError(t, o.SetSchedule(s))
			for range steps {
				require.NoError(t, o.Step(nil))
			}
			before, err := o.GroupCounters(nil, 0)
			require.NoError(t, err)
			err = o.Step(nil)
			require.EqualError(t, err, want)
			var e *optim.ScalarError
			require.ErrorAs(t, err, &e)
			require.Equal(t, steps, e.Step)
			require.Equal(t, steps, o.Steps())
			after, err := o.GroupCounters(nil, 0)
			require.NoError(t, err)
			require.Equal(t, before, after)
			require.Equal(t, []float64{1}, h.values(value))
			require.NoError(t, o.SetSchedule(nil))
			require.NoError(t, o.SetLR(0))
			require.NoError(t, o.Step(nil), "and the optimizer goes on")
		}
		run(sgd(1), optim.Exponential{Gamma: 2}, 128, "optim: group 0: sgd: in step 128 scalar LR is 3.402823669209385e+38, which float32 cannot hold: nothing was updated")
		run(sgd(1), optim.ScheduleFunc(func(k int) float64 { return []float64{1, 1e39, 1}[k] }), 1,
			"optim: group 0: sgd: in step 1 scalar LR is 1e+39, which float32 cannot hold: nothing was updated")
		run(with(optim.DefaultAdamW(), func(c *optim.AdamW) { c.LR, c.WeightDecay = 1e20, 1e-2 }), optim.ScheduleFunc(func(k int) float64 { return []float64{0, 1e30}[k] }), 1,
			"optim: group 0: adamw: in step 1 scalar Decay is -1e+48, which float32 cannot hold: nothing was updated")
	})
}

// N5: a rate that a schedule has brought below the type's range is 0, and a scalar that a rule does not look at may be anything:
// FTRL's reciprocal of a rate of 0, Sophia's clip where it does not clip.
func TestScalarsThatDoNoHarm(t *testing.T) {
	for _, alg := range []optim.Algorithm{
		optim.DefaultSGD(), optim.DefaultAdamW(), optim.DefaultFTRL(),
		with(optim.DefaultSophia(), func(c *optim.Sophia) { c.ClipThreshold = 0 }),
	} {
		for _, dtype := range []device.DType{device.Float32, device.Float64} {
			h := newHarness(t, dtype, []float64{1, -2})
			h.set(h.grad, []float64{0.5, 1})
			o := h.optimizer(alg)
			require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(k int) float64 { return []float64{1, 1e-60, 0}[k] })))
			require.NoError(t, o.Step(nil))
			after := h.values(h.value)
			require.NoError(t, o.Step(nil))
			require.NoError(t, o.Step(nil))
			if dtype == device.Float32 {
				require.Equal(t, after, h.values(h.value), "%T", alg)
			}
		}
	}
	for _, c := range optim.Cases() { // no rule is refused for what it has of itself
		h := newHarness(t, device.Float32, []float64{1, -2})
		h.set(h.grad, []float64{0.5, 1})
		o := h.optimizer(c.Algorithm)
		require.NoError(t, o.SetSchedule(optim.Warmup{Steps: 5}))
		for range 20 {
			require.NoError(t, o.Step(nil), c.Name)
		}
	}
	// A rate that is not 0 but whose reciprocal the type cannot hold does harm.
	h := newHarness(t, device.Float32, []float64{1})
	h.set(h.grad, []float64{1})
	o := h.optimizer(optim.DefaultFTRL())
	require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(int) float64 { return 1e-37 })))
	var e *optim.ScalarError
	require.ErrorAs(t, o.Step(nil), &e)
}

// N8: state that starts as a hyperparameter starts as that is at the first step, after its schedule, as in torch.
func TestStateStartsAtTheFirstStep(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		run := func(before func(o *optim.Optimizer)) float64 {
			value, grad := h.buffer(device.Float64, []float64{1}), h.buffer(device.Float64, []float64{1})
			o, err := optim.New(b, optim.DefaultRprop(), []optim.Param{{Name: "w", Value: value, Grad: grad}})
			require.NoError(t, err)
			defer o.Close()
			before(o)
			for range 3 {
				require.NoError(t, o.Step(nil))
			}
			return h.values(value)[0]
		}
		want := 1 - 0.1 - 0.1*1.2 - 0.1*1.2*1.2
		require.InDelta(t, want, run(func(o *optim.Optimizer) { require.NoError(t, o.SetLR(0.1)) }), 1e-15)
		require.InDelta(t, want, run(func(o *optim.Optimizer) {
			require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(int) float64 { return 10 })))
		}), 1e-15)
		require.InDelta(t, want, run(func(o *optim.Optimizer) {
			require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(k int) float64 { return float64(10 - k) })))
			require.NoError(t, o.SetGrad("w", nil)) // its own first step is the one that counts
			grad := h.buffer(device.Float64, []float64{1})
			require.NoError(t, o.Step(nil))
			require.NoError(t, o.SetGrad("w", grad))
			require.NoError(t, o.SetLR(0.1/9))
		}), 1e-15)
		own := func(o *optim.Optimizer) {
			state, err := o.State("w", "step_size")
			require.NoError(t, err)
			h.set(state, []float64{0.1 / 1.2})
			require.NoError(t, o.SetLR(0.5))
		}
		require.InDelta(t, 1-0.1/1.2-0.1-0.1*1.2, run(own), 1e-15, "what was written to it stays")
	})
}

//go:embed foresee_test.go
var foreseeSource string

type spoilElem[F rule.Float] struct {
	X F `slot:"param"`
	Y F `slot:"grad"`
	M F `slot:"momentum_buffer"`
}
type spoilScalars[F rule.Float] struct{ LR F }
type spoilHyper struct{ LR, Momentum, Dampening, LRInMomentum float64 }
type spoilCounters struct {
	Step float64 `counter:"step"`
}

func spoil[F rule.Float](e *spoilElem[F], s *spoilScalars[F], _ struct{}) { e.X, e.M = e.Y, s.LR }

func spoilPrologue(h *spoilHyper, _ *spoilCounters, s *spoilScalars[float64], _ struct{}) {
	s.LR = h.LR
}

func keep[F rule.Float](e *spoilElem[F], s *spoilScalars[F], _ struct{}) { e.X = e.Y + e.M + s.LR }

func keepPrologue(h *spoilHyper, t *spoilCounters, s *spoilScalars[float64], _ struct{}) {
	t.Step += 1
	s.LR = h.LR
}

// W6: a rule for evaluation that changes anything but what it is to write is refused.
func TestEvalRuleMustChangeNothing(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	momentum := with(optim.DefaultSGD(), func(c *optim.SGD) { c.Momentum = 0.5 })
	for want, def := range map[string]func() (rule.Definition[spoilHyper, struct{}], error){
		`rule spoil for evaluation stores slot "momentum_buffer", may store "param" alone`: func() (rule.Definition[spoilHyper, struct{}], error) {
			return rule.New(spoil[float32], spoil[float64], spoilPrologue, foreseeSource)
		},
		`rule keep for evaluation changes the counter "step": evaluating is no step`: func() (rule.Definition[spoilHyper, struct{}], error) {
			return rule.New(keep[float32], keep[float64], keepPrologue, foreseeSource)
		},
	} {
		d, err := def()
		require.NoError(t, err)
		_, err = optim.New(dev, ahead{momentum, d.Rule}, nil)
		require.ErrorContains(t, err, want)
	}
}
