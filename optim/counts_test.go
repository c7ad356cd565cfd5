package optim_test

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// I2: a training that goes on and was told one count and not the other is refused by the next step, whichever is missing.
func TestCountsMustAgree(t *testing.T) {
	fresh := func() (*harness, *optim.Optimizer) {
		h := newHarness(t, device.Float32, []float64{1})
		h.set(h.grad, []float64{1})
		return h, h.optimizer(optim.DefaultAdam())
	}
	counters := map[string]float64{"step": 1000}
	refused := func(h *harness, o *optim.Optimizer, want string) {
		t.Helper()
		err := o.Step(nil)
		require.EqualError(t, err, want)
		var e *optim.CountError
		require.ErrorAs(t, err, &e)
		require.Equal(t, []float64{1}, h.values(h.value), "nothing is enqueued")
	}
	t.Run("SetSteps alone", func(t *testing.T) {
		h, o := fresh()
		require.NoError(t, o.SetSteps(1000))
		refused(h, o, `optim: group 0, tensor "0.0": has taken 0 steps, the optimizer 1000: SetGroupCounters is missing`)
		require.NoError(t, o.SetGroupCounters(nil, 0, counters))
		require.NoError(t, o.Step(nil))
		require.NoError(t, o.Step(nil))
	})
	t.Run("SetGroupCounters alone", func(t *testing.T) {
		h, o := fresh()
		require.NoError(t, o.SetGroupCounters(nil, 0, counters))
		refused(h, o, `optim: group 0, tensor "0.0": has taken 1000 steps, the optimizer 0: SetSteps is missing`)
		require.NoError(t, o.SetSteps(999))
		refused(h, o, `optim: group 0, tensor "0.0": has taken 1000 steps, the optimizer 999: SetSteps is missing`)
		require.NoError(t, o.SetSteps(1000))
		require.NoError(t, o.Step(nil))
	})
	t.Run("one group of two", func(t *testing.T) {
		h, o := fresh()
		require.NoError(t, o.AddGroup(optim.DefaultSGD(), []optim.Param{{Name: "b", Value: h.buffer(device.Float32, []float64{1}), Grad: h.grad}}))
		require.NoError(t, o.SetSteps(1000))
		require.NoError(t, o.SetGroupCounters(nil, 0, counters))
		refused(h, o, `optim: group 1, tensor "b": has taken 0 steps, the optimizer 1000: SetGroupCounters is missing`)
		require.NoError(t, o.SetGroupCounters(nil, 1, map[string]float64{"step": 0}))
		require.NoError(t, o.Step(nil), "it was told to be new")
	})
	t.Run("one tensor of two", func(t *testing.T) {
		h, o := fresh()
		require.NoError(t, o.AddGroup(optim.DefaultAdam(), []optim.Param{
			{Name: "b", Value: h.buffer(device.Float32, []float64{1}), Grad: h.grad}, {Name: "c", Value: h.buffer(device.Float32, []float64{1}), Grad: h.grad}}))
		require.NoError(t, o.SetSteps(1000))
		require.NoError(t, o.SetGroupCounters(nil, 0, counters))
		require.NoError(t, o.SetTensorCounters(nil, "c", map[string]float64{"step": 7}))
		refused(h, o, `optim: group 1, tensor "b": has taken 0 steps, the optimizer 1000: SetGroupCounters is missing`)
		require.NoError(t, o.SetTensorCounters(nil, "b", map[string]float64{"step": 8}))
		require.NoError(t, o.Step(nil))
		for name, want := range map[string]float64{"b": 9, "c": 8} {
			got, err := o.TensorCounters(nil, name)
			require.NoError(t, err)
			require.Equal(t, want, got["step"])
		}
	})
	t.Run("a group that is added later is new", func(t *testing.T) {
		h, o := fresh()
		require.NoError(t, o.SetSteps(1000))
		require.NoError(t, o.SetGroupCounters(nil, 0, counters))
		require.NoError(t, o.AddGroup(optim.DefaultAdam(), []optim.Param{{Name: "b", Value: h.buffer(device.Float32, []float64{1}), Grad: h.grad}}))
		require.NoError(t, o.Step(nil))
		require.NoError(t, o.SetSteps(2000))
		require.ErrorContains(t, o.Step(nil), "SetGroupCounters is missing", "now it has been there")
		require.NoError(t, o.SetSteps(1001))
		require.NoError(t, o.Step(nil), "back where it was")
	})
	t.Run("a tensor left out is asked when it comes back", func(t *testing.T) {
		h, o := fresh()
		require.NoError(t, o.SetGrad("0.0", nil))
		require.NoError(t, o.SetSteps(1000))
		require.NoError(t, o.Step(nil))
		require.NoError(t, o.SetGrad("0.0", h.grad))
		refused(h, o, `optim: group 0, tensor "0.0": has taken 0 steps, the optimizer 1001: SetGroupCounters is missing`)
		require.NoError(t, o.SetGroupCounters(nil, 0, map[string]float64{"step": 500}))
		require.NoError(t, o.Step(nil))
	})
	t.Run("a closed circle", func(t *testing.T) {
		_, o := fresh()
		require.NoError(t, o.Step(nil))
		require.NoError(t, o.SetSteps(1))
		require.NoError(t, o.Step(nil), "which is no change")
	})
}

// I3: torch's step alone is enough, for every rule, and gives the bits of a training that was never interrupted.
func TestStepAloneRestores(t *testing.T) {
	for _, c := range optim.Cases() {
		h := newHarness(t, device.Float64, []float64{1, -2})
		h.set(h.grad, []float64{0.5, 0.25})
		o := h.optimizer(c.Algorithm)
		for range 5 {
			require.NoError(t, o.Step(nil))
		}
		want, err := o.GroupCounters(nil, 0)
		require.NoError(t, err)
		p := newHarness(t, device.Float64, []float64{1, -2}).optimizer(c.Algorithm)
		require.NoError(t, p.SetGroupCounters(nil, 0, map[string]float64{"step": 5}), c.Name)
		got, err := p.GroupCounters(nil, 0)
		require.NoError(t, err)
		require.Equal(t, want, got, c.Name)
		require.NoError(t, p.SetGroupCounters(nil, 0, got), "%s: what was returned is put back", c.Name)
		require.NoError(t, p.SetGroupCounters(nil, 0, map[string]float64{"step": 0}), c.Name)
		got, err = p.GroupCounters(nil, 0)
		require.NoError(t, err)
		require.NoError(t, p.SetGroupCounters(nil, 0, got), c.Name)
	}
}

// I3: what a training with a schedule has come to is put back, whatever follows the schedule: a warm-up has a first learning rate of 0.
func TestWhatSchedulesMakeIsPutBack(t *testing.T) {
	seen := 0
	for _, c := range optim.Cases() {
		h := newHarness(t, device.Float64, []float64{1, -2})
		h.set(h.grad, []float64{0.5, 0.25})
		names, err := h.optimizer(c.Algorithm).Hyperparameters(0)
		require.NoError(t, err)
		for name := range names {
			for _, s := range []optim.Schedule{optim.Warmup{Steps: 2}, optim.Linear{Steps: 2}, optim.Cosine{Steps: 4, Min: 1.05}} {
				o := h.optimizer(c.Algorithm)
				if o.SetHyperparameterSchedule(name, s) != nil {
					continue // an option
				}
				for range 4 {
					if o.Step(nil) != nil {
						break // 0, or more than it was, is out of range
					}
					seen++
					counters, err := o.GroupCounters(nil, 0)
					require.NoError(t, err)
					require.NoError(t, o.SetGroupCounters(nil, 0, counters), "%s: %s follows %T: %v", c.Name, name, s, counters)
				}
			}
		}
	}
	require.Greater(t, seen, 500)
}

// I3: what no run of the rule can have come to is refused, and nothing is set.
func TestSetGroupCountersRefuses(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	h := newHarness(t, device.Float32, []float64{1})
	adam := with(optim.DefaultAdam(), func(c *optim.Adam) { c.Betas = [2]float64{0.5, 0.75} })
	for _, tt := range []struct {
		alg      optim.Algorithm
		counters map[string]float64
		want     string
	}{
		{adam, map[string]float64{"step": nan}, "optim: group 0: set counters: step is NaN, must be finite"},
		{adam, map[string]float64{"step": -5}, "optim: group 0: set counters: step is -5, must be a whole number, at least 0"},
		{adam, map[string]float64{"step": 1.5}, "optim: group 0: set counters: step is 1.5, must be a whole number, at least 0"},
		{adam, map[string]float64{"step": 1e9}, `optim: group 0: set counters: step is 1e+09, must be at most 16777216 where ["beta1_power" "beta2_power"] is not given`},
		{adam, map[string]float64{"step": 3, "beta1_power": inf}, "optim: group 0: set counters: beta1_power is +Inf, must be finite"},
		{adam, map[string]float64{"step": 3, "beta1_power": 7}, "optim: group 0: set counters: beta1_power is 7, must be at most 1"},
		{adam, map[string]float64{"step": 3, "beta2_power": -0.5}, "optim: group 0: set counters: beta2_power is -0.5, must be at least 0"},
		{adam, map[string]float64{"step": 3, "beta2_power": 1}, "optim: group 0: set counters: beta2_power is 1, must be other than 1, as it is before the first step"},
		{adam, map[string]float64{"step": 0, "beta2_power": 0.5}, "optim: group 0: set counters: beta2_power is 0.5, must be 1, as it is before the first step"},
		{adam, map[string]float64{"beta1_power": 1}, `optim: group 0: set counters: ["step" "beta2_power"] is missing, of ["step" "beta1_power" "beta2_power"]`},
		{adam, map[string]float64{"step": 3, "mu": 1}, `optim: group 0: set counters: rule Adam keeps no "mu", only ["step" "beta1_power" "beta2_power"]`},
		{optim.DefaultNAdam(), map[string]float64{"step": 3, "mu_product": 2}, "optim: group 0: set counters: mu_product is 2, must be at most 1"},
		{optim.DefaultASGD(), map[string]float64{"step": 3, "eta": -1}, "optim: group 0: set counters: eta is -1, must be at least 0"},
		{optim.DefaultASGD(), map[string]float64{"step": 3, "mu": 1.5}, "optim: group 0: set counters: mu is 1.5, must be at most 1"},
		{optim.DefaultScheduleFreeAdamW(), map[string]float64{"step": 3, "weight_sum": -1}, "optim: group 0: set counters: weight_sum is -1, must be at least 0"},
		{optim.DefaultScheduleFreeAdamW(), map[string]float64{"step": 3, "lr_max": nan}, "optim: group 0: set counters: lr_max is NaN, must be finite"},
	} {
		o := h.optimizer(tt.alg)
		before, err := o.GroupCounters(nil, 0)
		require.NoError(t, err)
		for _, err := range []error{o.SetGroupCounters(nil, 0, tt.counters), o.SetTensorCounters(nil, "0.0", tt.counters)} {
			require.EqualError(t, err, tt.want)
		}
		after, err := o.GroupCounters(nil, 0)
		require.NoError(t, err)
		require.Equal(t, before, after)
	}

	// What other betas have made, or a rate that was 0, is none of it.
	o := h.optimizer(adam)
	given := map[string]float64{"step": 3, "beta1_power": 0.99, "beta2_power": 0}
	require.NoError(t, o.SetGroupCounters(nil, 0, given))
	got, err := o.GroupCounters(nil, 0)
	require.NoError(t, err)
	require.Equal(t, given, got)
	o = h.optimizer(optim.DefaultASGD())
	require.NoError(t, o.SetGroupCounters(nil, 0, map[string]float64{"step": 3, "eta": 0, "mu": 1}))
	o = h.optimizer(optim.DefaultNAdam()) // as torch has it
	require.NoError(t, o.SetGroupCounters(nil, 0, map[string]float64{"step": 3, "mu_product": 0.1}))
}

// A step that failed after its prologue had run, as a GPU's may, leaves a count that is read back before the next one.
func TestCountAfterFailedStep(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	b := &lying{cpuDevice: h.dev}
	o, err := optim.New(b, optim.DefaultAdam(), []optim.Param{{Name: "w", Value: h.value, Grad: h.grad}})
	require.NoError(t, err)
	b.err = errors.New("lost")
	require.EqualError(t, o.Step(nil), "optim: step: groups [] were updated, groups [0] were not: lost")
	b.err = nil
	require.NoError(t, o.SetSteps(5))
	var e *optim.CountError
	require.ErrorAs(t, o.Step(nil), &e)
	require.Equal(t, 1.0, e.Taken)
	require.NoError(t, o.SetSteps(1))
	require.NoError(t, o.Step(nil))
	counters, err := o.GroupCounters(nil, 0)
	require.NoError(t, err)
	require.Equal(t, 2.0, counters["step"])
}

// lying is a backend whose updates do what they are told and say that they failed.
type lying struct {
	*cpuDevice
	err error
}

func (l *lying) Compile(w kernels.Work) (kernels.Update, error) {
	u, err := l.cpuDevice.Compile(w)
	return &lyingUpdate{u, l}, err
}

type lyingUpdate struct {
	kernels.Update
	l *lying
}

func (u *lyingUpdate) Enqueue(s *device.Stream, step kernels.Step) error {
	return errors.Join(u.Update.Enqueue(s, step), u.l.err)
}
