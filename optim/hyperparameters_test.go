package optim_test

import (
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// Hyperparameters have PyTorch's names where PyTorch has them, and the names that errors use.
func TestHyperparameterNames(t *testing.T) {
	adam := []string{"amsgrad", "betas[0]", "betas[1]", "corrected_max", "eps", "eps_hat", "eps_root", "l1", "lr", "maximize", "no_bias_correction",
		"norm_coefficient_post", "weight_decay"}
	for _, tt := range []struct {
		alg  optim.Algorithm
		want []string
	}{
		{optim.DefaultSGD(), []string{"dampening", "decoupled", "l1", "lr", "lr_in_momentum", "maximize", "momentum", "nesterov", "weight_decay"}},
		{optim.DefaultAdam(), adam},
		{optim.DefaultAdamW(), adam},
		{optim.DefaultAdagrad(), []string{"decoupled", "eps", "eps_root", "initial_accumulator_value", "lr", "lr_decay", "maximize", "weight_decay"}},
		{optim.DefaultASGD(), []string{"alpha", "lambd", "lr", "maximize", "t0", "weight_decay"}},
		{optim.DefaultNAdam(), []string{"betas[0]", "betas[1]", "decoupled_weight_decay", "eps", "lr", "maximize", "momentum_decay", "weight_decay"}},
		{optim.DefaultRprop(), []string{"etas[0]", "etas[1]", "lr", "maximize", "step_sizes[0]", "step_sizes[1]"}},
		{optim.DefaultScheduleFreeSGD(), []string{"lr", "maximize", "momentum", "r", "warmup_steps", "weight_decay", "weight_lr_power"}},
		{optim.Regularized{Algorithm: optim.DefaultLion()}, []string{"betas[0]", "betas[1]", "decoupled", "l1", "lr", "maximize", "weight_decay"}},
		{bespoke{}, []string{"K", "inner", "lr"}},
	} {
		o, err := optim.New(newHarness(t, device.Float32, nil).dev, tt.alg, nil)
		require.NoError(t, err)
		h, err := o.Hyperparameters(0)
		require.NoError(t, err)
		require.Equal(t, tt.want, slices.Sorted(maps.Keys(h)), "%T", tt.alg)
		for name, x := range h {
			one, err := o.Hyperparameter(0, name)
			require.NoError(t, err)
			require.Equal(t, x, one)
			require.NoError(t, o.SetHyperparameter(name, x), "%T: %s", tt.alg, name)
		}
	}
}

// bespoke is an algorithm of the user's own, without a field for the learning rate.
type bespoke struct {
	Betas  [1]string // no number
	K      float64   `hyper:"K"`
	Hidden float64   `hyper:"-"`
	bespokeInner
	secret float64
}

type bespokeInner struct{ Inner int }

func (bespoke) Setting() (rule.Setting, error) {
	s, err := optim.DefaultSGD().Setting()
	s.Name = "bespoke"
	s.Hyper[s.Rule.HyperIndex("LR")] = 0.5
	return s, err
}

// Every hyperparameter of every algorithm is found by the name that its range error has.
func TestHyperparameterErrorsUseTheNames(t *testing.T) {
	for _, c := range optim.Cases() {
		o, err := optim.New(newHarness(t, device.Float32, nil).dev, c.Algorithm, nil)
		require.NoError(t, err)
		names, err := o.Hyperparameters(0)
		require.NoError(t, err)
		for name := range names {
			err := o.SetHyperparameter(name, math.NaN())
			var e *optim.HyperparameterError
			require.ErrorAs(t, err, &e, "%s: %s", c.Name, name)
			require.Equal(t, name, e.Name, c.Name)
			now, err := o.Hyperparameter(0, name)
			require.NoError(t, err)
			require.Equal(t, names[name], now, "refused, and so as before")
		}
	}
}

// A change between steps does what an optimizer does that had it from the start, where a step looks at it, on everything that
// runs a step, and compiles only what turns a term on or off.
func TestSetHyperparameter(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		init, grad := []float64{1, -2, 3}, []float64{0.5, 0.25, -1}
		first := with(optim.DefaultAdamW(), func(c *optim.AdamW) { c.LR, c.WeightDecay = 0.25, 0 })
		for name, change := range map[string]func(*optim.AdamW) (string, float64){
			"rate":    func(c *optim.AdamW) (string, float64) { c.LR = 0.5; return "lr", 0.5 },
			"decay":   func(c *optim.AdamW) (string, float64) { c.WeightDecay = 0.5; return "weight_decay", 0.5 },
			"l1":      func(c *optim.AdamW) (string, float64) { c.L1 = 0.5; return "l1", 0.5 },
			"eps":     func(c *optim.AdamW) (string, float64) { c.Eps = 0.5; return "eps", 0.5 },
			"upwards": func(c *optim.AdamW) (string, float64) { c.Maximize = true; return "maximize", 1 },
			"amsgrad": func(c *optim.AdamW) (string, float64) { c.AMSGrad = true; return "amsgrad", 1 },
		} {
			alg := first
			key, x := change(&alg)
			grads := h.buffer(device.Float32, grad)
			changed, taught := h.buffer(device.Float32, init), h.buffer(device.Float32, init)
			o, err := optim.New(b, first, []optim.Param{{Name: "w", Value: changed, Grad: grads}})
			require.NoError(t, err)
			require.NoError(t, o.Step(nil))
			require.NoError(t, o.SetHyperparameter(key, x))
			require.NoError(t, o.Step(nil))
			got, err := o.Algorithm(0)
			require.NoError(t, err)
			require.Equal(t, alg, got)

			// The other has the hyperparameters from its first step on, which it takes with the state that the first one had.
			p, err := optim.New(b, first, []optim.Param{{Name: "w", Value: taught, Grad: grads}})
			require.NoError(t, err)
			require.NoError(t, p.Step(nil))
			q, err := optim.New(b, alg, []optim.Param{{Name: "w", Value: taught, Grad: grads}})
			require.NoError(t, err)
			states, err := p.States("w")
			require.NoError(t, err)
			for slot, from := range states {
				to, err := q.State("w", slot)
				require.NoError(t, err)
				require.NoError(t, h.memory.DefaultStream().Copy(to, from))
			}
			require.NoError(t, q.SetGroupCounters(nil, 0, map[string]float64{"step": 1}))
			require.NoError(t, q.SetSteps(1))
			require.NoError(t, q.Step(nil))
			require.Equal(t, h.values(taught), h.values(changed), name)
			for _, o := range []*optim.Optimizer{o, p, q} {
				require.NoError(t, o.Close())
			}
		}
	})
}

// What scales only is not compiled. What turns a term on is, once, and state comes with it; what is turned off leaves its state.
func TestHyperparameterCompiles(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	h.set(h.grad, []float64{1})
	counting := &counting{cpuDevice: h.dev}
	o, err := optim.New(counting, sgd(0.25), []optim.Param{{Name: "w", Value: h.value, Grad: h.grad}})
	require.NoError(t, err)
	step := func(updates int, want float64) {
		t.Helper()
		require.NoError(t, o.Step(nil))
		require.Equal(t, updates, counting.updates)
		require.Equal(t, []float64{want}, h.values(h.value))
	}
	step(1, 0.75)
	require.NoError(t, o.SetLR(0.125))
	step(1, 0.625)
	names, err := o.StateNames(0)
	require.NoError(t, err)
	require.Empty(t, names)
	require.NoError(t, o.SetHyperparameter("momentum", 0.5))
	names, err = o.StateNames(0)
	require.NoError(t, err)
	require.Equal(t, []string{"momentum_buffer"}, names)
	buf, err := o.State("w", "momentum_buffer")
	require.NoError(t, err)
	require.Equal(t, []float64{0}, h.values(buf))
	require.ErrorIs(t, o.SetGrad("w", buf), device.ErrOverlap, "new state counts in the overlap check")
	step(2, 0.5)
	require.NoError(t, o.SetHyperparameter("momentum", 1))
	step(2, 0.25)
	require.NoError(t, o.SetHyperparameter("momentum", 0))
	step(3, 0.125)
	require.Equal(t, []float64{2}, h.values(buf), "left as it was")
	require.NoError(t, o.SetHyperparameter("momentum", 1))
	step(4, 0.125-0.125*3)
	require.NoError(t, o.SetHyperparameter("weight_decay", 1))
	step(5, -0.25-0.125*(3+1-0.25))
}

// A change is of all groups that are named, or of none.
func TestHyperparameterErrors(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	o := h.optimizer(optim.DefaultSGD())
	require.NoError(t, o.AddGroup(optim.DefaultAdamW(), nil))
	require.NoError(t, o.AddGroup(bespoke{}, nil))
	weightDecay := func(want ...float64) {
		t.Helper()
		for i, w := range want {
			x, err := o.Hyperparameter(i, "weight_decay")
			require.NoError(t, err)
			require.Equal(t, w, x)
		}
	}
	require.EqualError(t, o.SetHyperparameter("weight_decay", -1, 1), "optim: adamw: weight_decay is -1, must be at least 0, and finite")
	require.EqualError(t, o.SetHyperparameter("weight_decay", 0.5), `optim: group 2: bespoke has no hyperparameter "weight_decay", only ["lr" "K" "inner"]`)
	require.EqualError(t, o.SetHyperparameter("betas[2]", 0.5, 1), `optim: group 1: adamw has no hyperparameter "betas[2]", only ["lr" "betas[0]" "betas[1]" "eps" `+
		`"weight_decay" "l1" "amsgrad" "maximize" "eps_hat" "eps_root" "corrected_max" "no_bias_correction" "norm_coefficient_post"]`)
	require.EqualError(t, o.SetHyperparameter("amsgrad", 0.5, 1), "optim: adamw: amsgrad is 0.5, must be 0 or 1")
	weightDecay(0, 0.01)
	require.NoError(t, o.SetHyperparameter("weight_decay", 0.5, 1, 0, 1))
	weightDecay(0.5, 0.5)

	require.EqualError(t, o.SetLR(math.NaN(), 2), "optim: bespoke: lr is NaN, must be at least 0, and finite")
	require.NoError(t, o.SetLR(0.75))
	for i := range 3 {
		lr, err := o.LR(i)
		require.NoError(t, err)
		require.Equal(t, 0.75, lr, "whether the algorithm has a field for it or not")
	}
	require.EqualError(t, o.SetAlgorithm(0, optim.DefaultLion()), "optim: group 0: algorithm lion has rule Lion, the group has rule SGD: a new rule needs a new group")
	s, err := optim.DefaultSGD().Setting()
	require.NoError(t, err)
	require.EqualError(t, o.SetAlgorithm(0, ofRead{optim.DefaultSGD(), readAgain(t, s.Rule)}),
		"optim: group 0: algorithm sgd has another rule SGD than the group: a new rule needs a new group")
	require.NoError(t, o.SetHyperparameterSchedule("momentum", optim.Constant{}, 0))
	require.EqualError(t, o.SetAlgorithm(0, bespoke{}), `optim: set algorithm: group 0: optim_test.bespoke has no hyperparameter "momentum", which has a schedule`)
	require.EqualError(t, o.SetHyperparameterSchedule("momentum", optim.Constant{}), `optim: group 1: adamw has no hyperparameter "momentum", only `+
		`["lr" "betas[0]" "betas[1]" "eps" "weight_decay" "l1" "amsgrad" "maximize" "eps_hat" "eps_root" "corrected_max" "no_bias_correction" "norm_coefficient_post"]`)
	require.NoError(t, o.SetAlgorithm(0, with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR = 0.5 })))
	lr, err := o.LR(0)
	require.NoError(t, err)
	require.Equal(t, 0.5, lr)
}

// Groups follow schedules of their own; LastLR is what a step had.
func TestSchedulesOfGroups(t *testing.T) {
	h := newHarness(t, device.Float64, []float64{0})
	h.set(h.grad, []float64{1})
	o := h.optimizer(sgd(1))
	second, third := h.buffer(device.Float64, []float64{0}), h.buffer(device.Float64, []float64{0})
	require.NoError(t, o.AddGroup(sgd(2), []optim.Param{{Value: second, Grad: h.grad}}))
	require.NoError(t, o.SetSchedule(optim.StepDecay{Every: 1, Gamma: 0.5}))
	require.NoError(t, o.SetSchedule(optim.Constant{}, 1))
	require.NoError(t, o.AddGroup(sgd(4), []optim.Param{{Value: third, Grad: h.grad}}))
	last := func(want ...float64) {
		t.Helper()
		for i, w := range want {
			lr, err := o.LastLR(i)
			require.NoError(t, err)
			require.Equal(t, w, lr)
		}
	}
	last(0, 0, 0)
	require.NoError(t, o.Step(nil))
	last(1, 2, 4)
	require.NoError(t, o.SetLR(8, 1))
	require.NoError(t, o.SetHyperparameterSchedule("lr", optim.Constant{}, 0))
	last(1, 2, 4)
	require.NoError(t, o.Step(nil))
	last(1, 8, 2)
	require.Equal(t, []float64{-2}, h.values(h.value))
	require.Equal(t, []float64{-10}, h.values(second))
	require.Equal(t, []float64{-6}, h.values(third))
}

// A schedule of a hyperparameter multiplies what the group has; what the algorithm refuses is an error of Step, and nothing is
// updated.
func TestHyperparameterSchedule(t *testing.T) {
	h := newHarness(t, device.Float64, []float64{1})
	h.set(h.grad, []float64{0})
	o := h.optimizer(with(sgd(0.5), func(c *optim.SGD) { c.WeightDecay = 0.5 }))
	require.NoError(t, o.SetHyperparameterSchedule("weight_decay", optim.ScheduleFunc(func(k int) float64 { return []float64{1, 0, 2, -1}[k] })))
	for _, want := range []float64{0.75, 0.75, 0.375} {
		require.NoError(t, o.Step(nil))
		require.Equal(t, []float64{want}, h.values(h.value))
	}
	err := o.Step(nil)
	require.EqualError(t, err, "optim: sgd: weight_decay is -0.5, must be at least 0, and finite, after its schedule")
	var e *optim.HyperparameterError
	require.ErrorAs(t, err, &e)
	require.Equal(t, 3, o.Steps())
	base, err := o.Hyperparameter(0, "weight_decay")
	require.NoError(t, err)
	require.Equal(t, 0.5, base, "a schedule changes no base")
	require.NoError(t, o.SetHyperparameterSchedule("weight_decay", nil))
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{0.28125}, h.values(h.value))
}

// N2: what a type turns into 0 is refused when it is set later, too, and when a schedule makes it; a penalty may fade away, as
// the rate may.
func TestChangesAreHeldToTheType(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	o := h.optimizer(optim.DefaultAdamW())
	require.ErrorContains(t, o.SetHyperparameter("eps", 1e-46), "optim: adamw: eps is 1e-46, must be 0, or at least 2^-149")
	require.ErrorContains(t, o.SetLR(1e39), "optim: adamw: lr is 1e+39, must be below 2^128")
	require.ErrorContains(t, o.SetAlgorithm(0, with(optim.DefaultAdamW(), func(c *optim.AdamW) { c.Eps = 1e-46 })), "eps is 1e-46")
	require.NoError(t, o.Step(nil))
	fade := optim.ScheduleFunc(func(int) float64 { return 1e-60 })
	require.NoError(t, o.SetHyperparameterSchedule("weight_decay", fade))
	require.NoError(t, o.SetSchedule(fade))
	require.NoError(t, o.Step(nil))
	require.NoError(t, o.SetHyperparameterSchedule("eps", fade))
	err := o.Step(nil)
	require.ErrorContains(t, err, "optim: adamw: eps is 1e-68, must be 0, or at least 2^-149")
	require.ErrorContains(t, err, ", after its schedule")
	require.Equal(t, 2, o.Steps())
}

// One cycle of rate and momentum is torch's OneCycleLR with cycle_momentum, by the model of it that its documentation gives: the
// momentum falls while the rate rises, and rises while it falls.
func TestOneCycleMomentum(t *testing.T) {
	const steps, pct, base, most, maxLR = 20, 0.3, 0.85, 0.95, 0.1
	cosine := func(from, to, share float64) float64 { return to + (from-to)/2*(1+math.Cos(math.Pi*share)) }
	model := func(k int) (lr, momentum float64) {
		peak, last := pct*steps-1, steps-1.0
		if x := float64(k); x <= peak {
			return cosine(maxLR/25, maxLR, x/peak), cosine(most, base, x/peak)
		} else {
			share := (x - peak) / (last - peak)
			return cosine(maxLR, maxLR/25/1e4, share), cosine(base, most, share)
		}
	}
	h := newHarness(t, device.Float64, []float64{1})
	o := h.optimizer(with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.Momentum = maxLR, base }))
	require.NoError(t, o.SetSchedule(optim.DefaultOneCycle(steps)))
	require.NoError(t, o.SetHyperparameterSchedule("momentum", optim.OneCycle{Steps: steps, PctStart: pct, DivFactor: base / most, FinalDivFactor: 1}))
	p, buf := 1.0, 0.0
	for k := range steps {
		lr, momentum := model(k)
		g := math.Sin(float64(k))
		buf = momentum*buf + g
		p -= lr * buf
		h.set(h.grad, []float64{g})
		require.NoError(t, o.Step(nil))
		require.InDelta(t, p, h.values(h.value)[0], 1e-14, "step %d", k)
	}
	for k, want := range map[int]float64{0: most, 5: base, steps - 1: most} { // the model's own ends
		_, momentum := model(k)
		require.InDelta(t, want, momentum, 1e-12)
	}
}
