package optim_test

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// Sums that wait for nothing are not what the next step takes.
func TestAccumulateThenScale(t *testing.T) {
	for name, on := range map[string]func(o *optim.Optimizer) error{
		"scaler": func(o *optim.Optimizer) error { g := optim.DefaultGradScaler(); return o.SetGradScaler(nil, &g) },
		"skip":   func(o *optim.Optimizer) error { return o.SetSkip(nil, optim.Skip{NonFinite: true}) },
		"clip": func(o *optim.Optimizer) error {
			return errors.Join(o.SetClipNorm(1), o.SetSkip(nil, optim.Skip{NonFinite: true}))
		},
	} {
		h, o := controlled(t, sgd(1), 1)
		require.NoError(t, o.SetAccumulate(true))
		require.NoError(t, o.Accumulate(nil))
		require.NoError(t, o.Step(nil))
		require.NoError(t, on(o), name)
		h.set(h.grad, []float64{math.Inf(1)})
		require.NoError(t, o.Accumulate(nil))
		before := h.values(h.value)
		require.NoError(t, o.Step(nil))
		out := outcome(t, o)
		require.True(t, out.FoundInf(), name)
		require.Equal(t, before, h.values(h.value), name)
	}
}

// What was measured is of the sums that there are, and of no others.
func TestMeasureSums(t *testing.T) {
	h, o := controlled(t, sgd(1), 3)
	require.NoError(t, o.SetClipNorm(math.Inf(1)))
	require.NoError(t, o.SetAccumulate(true))
	require.ErrorIs(t, o.MeasureGradNorm(nil), optim.ErrNotAccumulated)
	require.NoError(t, o.Accumulate(nil))
	require.NoError(t, o.MeasureGradNorm(nil))
	norm := func(want float64) {
		t.Helper()
		got, err := o.GradNorm(nil)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	norm(3)
	h.set(h.grad, []float64{4})
	require.NoError(t, o.Accumulate(nil))
	require.NoError(t, o.Step(nil))
	norm(7)
	require.NoError(t, o.SetAccumulate(false))
	for _, g := range []float64{5, 6} {
		h.set(h.grad, []float64{g})
		require.NoError(t, o.MeasureGradNorm(nil))
		norm(g)
	}
}

// A count that is set between measuring and the step is the one that the step adds to.
func TestSetStepsAfterMeasuring(t *testing.T) {
	_, o := controlled(t, sgd(1), 1)
	require.NoError(t, o.SetSkip(nil, optim.Skip{NonFinite: true}))
	require.NoError(t, o.Step(nil))
	require.NoError(t, o.MeasureGradNorm(nil))
	require.NoError(t, o.SetSteps(1))
	require.NoError(t, o.Step(nil))
	out := outcome(t, o)
	require.Equal(t, []int{2, 0}, []int{out.AppliedSteps(), out.SkippedSteps()})
}

// A Stored around another adds to it, and turns nothing off. What both say is an error.
func TestStoredInStored(t *testing.T) {
	inner := optim.Stored{Algorithm: optim.DefaultAdamW(), State: map[string]device.DType{"exp_avg": device.BFloat16}, Master: optim.MasterRemainder, Stochastic: true, Seed: 5}
	s, err := optim.Stored{Algorithm: optim.Averaged{Algorithm: inner, Decay: 0.5}, State: map[string]device.DType{"ema": device.BFloat16}}.Setting()
	require.NoError(t, err)
	require.Equal(t, []any{true, uint64(5), "i16", "exp_avg=bf16 ema=bf16"}, []any{s.Stochastic, s.Seed, s.Master, s.Formats})
	_, err = optim.Stored{Algorithm: inner, Stochastic: true, Seed: 6}.Setting()
	var e *optim.HyperparameterError
	require.ErrorAs(t, err, &e)
	require.EqualError(t, err, "optim: adamw: stochastic is on, which needs an algorithm that is not stochastic already")
	h := newHarness(t, device.BFloat16, []float64{1})
	for _, outer := range []optim.Stored{{All: device.Float16}, {State: map[string]device.DType{"exp_avg": device.Float32}}, {Master: optim.MasterFloat32}} {
		outer.Algorithm = inner
		_, err := optim.New(h.dev, outer, []optim.Param{{Value: h.value, Grad: h.grad}})
		require.ErrorContains(t, err, "two")
	}
}
