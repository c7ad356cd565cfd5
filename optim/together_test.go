package optim_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
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
	inner := optim.Stored{Algorithm: optim.DefaultAdamW(), State: map[string]device.DType{"exp_avg": device.BFloat16}, Master: optim.MasterRemainder,
		Stochastic: true, Seed: 5}
	s, err := optim.Stored{Algorithm: optim.Averaged{Algorithm: inner, Decay: 0.5}, State: map[string]device.DType{"ema": device.BFloat16}}.Setting()
	require.NoError(t, err)
	require.Equal(t, []any{true, uint64(5), "i16", "exp_avg=bf16 ema=bf16"}, []any{s.Stochastic, s.Seed, s.Master, s.Formats})
	_, err = optim.Stored{Algorithm: inner, Stochastic: true, Seed: 6}.Setting()
	var e *optim.HyperparameterError
	require.ErrorAs(t, err, &e)
	require.EqualError(t, err, "optim: adamw: stochastic is on, which needs an algorithm that is not stochastic already")
	h := newHarness(t, device.BFloat16, []float64{1})
	for _, outer := range []optim.Stored{{All: device.Float16}, {State: map[string]device.DType{"exp_avg": device.Float32}},
		{Master: optim.MasterFloat32}} {
		outer.Algorithm = inner
		_, err := optim.New(h.dev, outer, []optim.Param{{Value: h.value, Grad: h.grad}})
		require.ErrorContains(t, err, "two")
	}
}

// forms are all in which a step holds parameters and state.
var forms = map[string]optim.Stored{
	"f32":            {},
	"all bf16":       {All: device.BFloat16},
	"master":         {Master: optim.MasterFloat32, All: device.BFloat16},
	"remainder":      {Master: optim.MasterRemainder},
	"remainder8":     {Master: optim.MasterRemainder8, All: device.BFloat16, Stochastic: true},
	"all stochastic": {All: device.BFloat16, Stochastic: true},
}

// A tensor gets the same bits in one group and in many, in any order, with any number of threads and wherever it lies in memory, with a loss
// scale, skipped steps, sums, an average and clipping by norm. The norm goes by the order of tensors: these gradients have squares whose sum is
// exact in any.
// Without noise, which goes by a tensor's name and element, the same is true of a tensor in pieces.
func TestSplits(t *testing.T) {
	lengths := []int{1, 33, 300, 9001}
	if testing.Short() {
		lengths[3] = 4109
	}
	names := []string{"a", "b", "c", "d"}
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for name, form := range forms {
			form.Algorithm = optim.DefaultAdamW()
			alg := optim.Averaged{Algorithm: form, Decay: 0.9}
			value := device.BFloat16
			if name == "f32" {
				value = device.Float32
			}
			// train trains with tensors n elements behind a line, each group's in the order of its names, and in pieces of so many elements.
			train := func(b kernels.Backend, off, piece int, groups ...[]string) map[string][]float64 {
				h := onBackend(t, b)
				o, err := optim.New(b, alg, nil)
				require.NoError(t, err)
				values, grads := map[string]*device.Buffer{}, map[string]*device.Buffer{}
				pieces := map[string][]string{}
				for _, group := range groups {
					var params []optim.Param
					for _, name := range group {
						n := lengths[slices.Index(names, name)]
						x := random(rand.New(rand.NewPCG(uint64(n), 1)), n)
						whole := [2]*device.Buffer{h.buffer(value, append(make([]float64, off), x...)), h.buffer(device.BFloat16, make([]float64, off+n))}
						values[name], err = whole[0].Slice(off, off+n)
						require.NoError(t, err)
						grads[name], err = whole[1].Slice(off, off+n)
						require.NoError(t, err)
						for lo := 0; lo < n; lo += piece {
							p := optim.Param{Name: name}
							if piece < n {
								p.Name = fmt.Sprint(name, " ", lo)
							}
							p.Value, err = values[name].Slice(lo, min(n, lo+piece))
							require.NoError(t, err)
							p.Grad, err = grads[name].Slice(lo, min(n, lo+piece))
							require.NoError(t, err)
							params, pieces[name] = append(params, p), append(pieces[name], p.Name)
						}
					}
					require.NoError(t, o.AddGroup(alg, params))
				}
				require.NoError(t, o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.InitScale, g.GrowthInterval = 8, 2 })))
				require.NoError(t, o.SetClipNorm(3))
				require.NoError(t, o.SetAccumulate(true))
				rng := rand.New(rand.NewPCG(7, 7))
				for step := range 5 {
					for range 2 {
						for i, name := range names {
							g := make([]float64, lengths[i])
							for k := range g {
								g[k] = float64(rng.IntN(33)-16) / 16
							}
							if step%3 == 0 && i == 2 {
								g[17] = math.Inf(-1)
							}
							h.set(grads[name], g)
						}
						require.NoError(t, o.Accumulate(nil))
					}
					require.NoError(t, o.Step(nil))
				}
				last := outcome(t, o)
				require.Equal(t, 3, last.AppliedSteps())
				out := map[string][]float64{"scale": {last.LossScale()}, "norm": {last.GradNorm()}}
				for name, v := range values {
					out[name] = h.values(v)
					for _, piece := range pieces[name] {
						states, err := o.States(piece)
						require.NoError(t, err)
						for state, b := range states {
							out[name+" "+state] = append(out[name+" "+state], h.numbers(b)...)
						}
					}
				}
				require.NoError(t, o.Close())
				return out
			}
			whole := math.MaxInt32
			want := train(b, 0, whole, names)
			same := func(what string, got map[string][]float64) {
				require.Equal(t, len(want), len(got), "%s: %s", name, what)
				for k, x := range want {
					require.Equal(t, x, got[k], "%s: %s: %s", name, what, k)
				}
			}
			same("off a line", train(b, 3, whole, names))
			same("in groups", train(b, 1, whole, []string{"a", "b"}, []string{"c"}, []string{"d"}))
			same("in another order", train(b, 0, whole, []string{"d", "a"}, []string{"c", "b"}))
			if !form.Stochastic {
				same("in pieces", train(b, 5, 1000, []string{"b", "d"}, []string{"a", "c"}))
				same("in small pieces", train(b, 0, 37, names))
			}
			if _, ok := b.(*cpu.Device); ok {
				threads := cpu.NewThreads(3)
				same("threads", train(threads, 2, whole, []string{"d"}, []string{"a", "b", "c"}))
				require.NoError(t, threads.Close())
			}
		}
	})
}

// A call that is refused changes nothing: a training goes on as one that never heard of it.
func TestRefusedCalls(t *testing.T) {
	s, plenty := newShort(t), newShort(t)
	both := func(f func(o *optim.Optimizer) error) {
		t.Helper()
		require.NoError(t, f(s.o))
		require.NoError(t, f(plenty.o))
	}
	nan, inf := math.NaN(), math.Inf(1)
	hyper, tensor := new(*optim.HyperparameterError), new(*optim.TensorError)
	state := func(change func(g *optim.GradScalerState)) func(o *optim.Optimizer) error {
		return func(o *optim.Optimizer) error {
			g, err := o.GradScalerState(nil)
			require.NoError(t, err)
			change(&g)
			return o.SetGradScalerState(nil, g)
		}
	}
	grads := func(change func(g *optim.GradScaler)) func(o *optim.Optimizer) error {
		return func(o *optim.Optimizer) error { return o.SetGradScaler(nil, scaler(change)) }
	}
	type call struct {
		as   any
		call func(o *optim.Optimizer) error
	}
	calls := map[string]call{
		"init scale 0":         {hyper, grads(func(g *optim.GradScaler) { g.InitScale = 0 })},
		"init scale NaN":       {hyper, grads(func(g *optim.GradScaler) { g.InitScale = nan })},
		"init scale too large": {hyper, grads(func(g *optim.GradScaler) { g.InitScale = 1e39 })},
		"growth 1":             {hyper, grads(func(g *optim.GradScaler) { g.GrowthFactor = 1 })},
		"growth too large":     {hyper, grads(func(g *optim.GradScaler) { g.GrowthFactor = inf })},
		"backoff 1":            {hyper, grads(func(g *optim.GradScaler) { g.BackoffFactor = 1 })},
		"backoff NaN":          {hyper, grads(func(g *optim.GradScaler) { g.BackoffFactor = nan })},
		"interval 0":           {hyper, grads(func(g *optim.GradScaler) { g.GrowthInterval = 0 })},
		"hysteresis 0":         {hyper, grads(func(g *optim.GradScaler) { g.Hysteresis = 0 })},
		"min scale":            {hyper, grads(func(g *optim.GradScaler) { g.MinScale = 1e9 })},
		"an empty scaler":      {hyper, func(o *optim.Optimizer) error { return o.SetGradScaler(nil, &optim.GradScaler{}) }},
		"scale -1":             {hyper, state(func(g *optim.GradScalerState) { g.Scale = -1 })},
		"scale NaN":            {hyper, state(func(g *optim.GradScalerState) { g.Scale = nan })},
		"scale Inf":            {hyper, state(func(g *optim.GradScalerState) { g.Scale = inf })},
		"scale of float64":     {hyper, state(func(g *optim.GradScalerState) { g.Scale = 0.1 })},
		"tracker":              {hyper, state(func(g *optim.GradScalerState) { g.GrowthTracker = g.GrowthInterval })},
		"tracker -1":           {hyper, state(func(g *optim.GradScalerState) { g.GrowthTracker = -1 })},
		"hysteresis tracker":   {hyper, state(func(g *optim.GradScalerState) { g.HysteresisTracker = 2 })},
		"an empty state":       {hyper, func(o *optim.Optimizer) error { return o.SetGradScalerState(nil, optim.GradScalerState{}) }},
		"norm above NaN":       {hyper, func(o *optim.Optimizer) error { return o.SetSkip(nil, optim.Skip{NormAbove: nan}) }},
		"norm above -1":        {hyper, func(o *optim.Optimizer) error { return o.SetSkip(nil, optim.Skip{NormAbove: -1}) }},
		"clip norm NaN":        {hyper, func(o *optim.Optimizer) error { return o.SetClipNorm(nan) }},
		"clip tensor norm -1":  {hyper, func(o *optim.Optimizer) error { return o.SetClipTensorNorm(-1) }},
		"clip value NaN":       {hyper, func(o *optim.Optimizer) error { return o.SetClipValue(nan) }},
		"clip value 1e-60":     {hyper, func(o *optim.Optimizer) error { return o.SetClipValue(1e-60) }},
		"counts":               {nil, func(o *optim.Optimizer) error { return o.SetScheduleCounts(7) }},
		"shared gradients": {tensor, func(o *optim.Optimizer) error {
			require.NoError(t, o.SetGrad("d", s.grads["a"]))
			defer func() { require.NoError(t, o.SetGrad("d", s.grads["d"])) }()
			return o.SetZeroGrad(true)
		}},
		"pending sums": {nil, func(o *optim.Optimizer) error { return o.SetAccumulate(false) }},
		"another rounding": {nil, func(o *optim.Optimizer) error {
			alg := optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterFloat32, Stochastic: true}
			return o.SetAlgorithm(1, optim.Averaged{Algorithm: alg, Decay: 0.5})
		}},
		"no master": {nil, func(o *optim.Optimizer) error {
			return o.SetAlgorithm(1, optim.Averaged{Algorithm: optim.DefaultAdamW(), Decay: 0.5})
		}},
		"no average": {nil, func(o *optim.Optimizer) error {
			return o.SetAlgorithm(1, optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterFloat32})
		}},
		"two averages": {hyper, func(o *optim.Optimizer) error {
			once := optim.Stored{Algorithm: optim.Averaged{Algorithm: optim.DefaultAdamW(), Decay: 0.5}}
			return o.AddGroup(optim.Averaged{Algorithm: once, Decay: 0.5}, s.added)
		}},
		"average's average": {hyper, func(o *optim.Optimizer) error {
			return o.AddGroup(optim.Averaged{Algorithm: optim.DefaultScheduleFreeSGD(), Decay: 0.5}, s.added)
		}},
		"no such master": {hyper, func(o *optim.Optimizer) error {
			return o.AddGroup(optim.Stored{Algorithm: optim.DefaultAdamW(), Master: 9}, s.added)
		}},
		"no such slot": {new(*format.SlotError), func(o *optim.Optimizer) error {
			return o.AddGroup(optim.Stored{Algorithm: optim.DefaultAdamW(), State: map[string]device.DType{"master": device.Float32}}, s.added)
		}},
		"no such type": {new(*format.Error), func(o *optim.Optimizer) error {
			return o.AddGroup(optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.Int8}, s.added)
		}},
		"adopt what": {nil, func(o *optim.Optimizer) error { return o.AdoptValues(nil, "a", "nobody") }},
		"evaluate into a master": {nil, func(o *optim.Optimizer) error {
			m, err := o.State("e", "master")
			require.NoError(t, err)
			return o.EvalParams(nil, map[string]*device.Buffer{"a": m})
		}},
		"ema decay": {hyper, func(o *optim.Optimizer) error { return o.SetHyperparameter("ema_decay", 0, 1) }},
	}
	both(func(o *optim.Optimizer) error {
		return o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.InitScale = 4 }))
	})
	both(func(o *optim.Optimizer) error { return o.SetAccumulate(true) })
	for name, c := range calls {
		both(func(o *optim.Optimizer) error { return o.Accumulate(nil) })
		err := c.call(s.o)
		require.Error(t, err, name)
		if c.as != nil {
			require.ErrorAs(t, err, c.as, name)
		}
		both(func(o *optim.Optimizer) error { return o.Step(nil) })
		require.Equal(t, plenty.numbers(), s.numbers(), name)
		want, err := plenty.o.GradScalerState(nil)
		require.NoError(t, err)
		got, err := s.o.GradScalerState(nil)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
	scale, err := s.o.LossScale()
	require.NoError(t, err)
	require.NoError(t, s.o.Close())
	require.ErrorIs(t, scale.Check(s.memory), device.ErrClosed)
	for name, c := range calls {
		if name != "evaluate into a master" && !strings.HasPrefix(name, "scale") && !strings.Contains(name, "tracker") && name != "shared gradients" {
			require.ErrorIs(t, c.call(s.o), device.ErrClosed, name)
		}
	}
	_, err = s.o.LossScale()
	require.ErrorIs(t, err, device.ErrClosed)
	_, err = s.o.GradScalerState(nil)
	require.ErrorIs(t, err, device.ErrClosed)
	_, err = s.o.Outcome(nil)
	require.ErrorIs(t, err, device.ErrClosed)
	_, err = s.o.Capture(nil)
	require.ErrorIs(t, err, device.ErrClosed)
}

// A training with skipped steps in it, the first among them, is the training without them: of every form, with an average, sums that are set to
// 0, a schedule of applied steps and a record that is replayed.
func TestSkippedStepsAreNone(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for name, form := range forms {
			for _, accumulate := range []bool{false, true} {
				train := func(bad ...int) map[string][]float64 {
					h := onBackend(t, b)
					form.Algorithm = optim.DefaultAdamW()
					value, grad := h.buffer(device.BFloat16, random(rand.New(rand.NewPCG(3, 1)), 37)), h.buffer(device.BFloat16, make([]float64, 37))
					o, err := optim.New(b, optim.Averaged{Algorithm: form, Decay: 0.9}, []optim.Param{{Name: "a", Value: value, Grad: grad}})
					require.NoError(t, err)
					require.NoError(t, o.SetSkip(nil, optim.Skip{NonFinite: true}))
					require.NoError(t, o.SetScheduleCounts(optim.AppliedSteps))
					require.NoError(t, o.SetSchedule(optim.Linear{Steps: 6}))
					require.NoError(t, o.SetZeroGrad(true))
					require.NoError(t, o.SetAccumulate(accumulate))
					var captured *optim.Captured
					step := func(g []float64) {
						for range 2 {
							h.set(grad, g)
							if accumulate {
								require.NoError(t, o.Accumulate(nil))
								require.Equal(t, make([]float64, 37), h.values(grad))
							}
						}
						if captured == nil {
							captured, err = o.Capture(nil)
							require.NoError(t, err)
						}
						require.NoError(t, captured.Replay(nil))
						require.Equal(t, make([]float64, 37), h.values(grad))
					}
					rng := rand.New(rand.NewPCG(5, 5))
					for k := range 5 {
						for _, i := range bad {
							if i == k {
								g := random(rand.New(rand.NewPCG(6, 6)), 37)
								g[36] = math.NaN()
								step(g)
							}
						}
						step(random(rng, 37))
					}
					out := outcome(t, o)
					require.Equal(t, []int{5, len(bad)}, []int{out.AppliedSteps(), out.SkippedSteps()})
					eval := h.buffer(device.BFloat16, make([]float64, 37))
					require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"a": eval}))
					lr, err := o.LastLR(0)
					require.NoError(t, err)
					counters, err := o.TensorCounters(nil, "a")
					require.NoError(t, err)
					got := map[string][]float64{"value": h.values(value), "evaluated": h.values(eval), "lr": {lr}}
					for name, x := range counters {
						got[name] = []float64{x}
					}
					states, err := o.States("a")
					require.NoError(t, err)
					for name, b := range states {
						got[name] = h.numbers(b)
					}
					require.NoError(t, captured.Close())
					require.NoError(t, o.Close())
					return got
				}
				want := train()
				for _, bad := range [][]int{{0}, {0, 0, 0}, {2, 4}, {0, 1, 1, 3}} {
					require.Equal(t, want, train(bad...), "%s, accumulate %t, %v", name, accumulate, bad)
				}
			}
		}
	})
}

// The norm goes by the order of tensors, and by tiles of them: neither groups nor pieces of whole tiles change its last bit.
func TestNormOfGroups(t *testing.T) {
	n := 3 * kernels.NormTile
	h := newHarness(t, device.Float32, make([]float64, n+33))
	h.set(h.grad, random(rand.New(rand.NewPCG(1, 2)), n+33))
	norm := func(ends ...int) float64 {
		o, err := optim.New(h.dev, optim.DefaultSGD(), nil)
		require.NoError(t, err)
		require.NoError(t, o.SetClipNorm(1))
		lo := 0
		for _, hi := range ends {
			var p optim.Param
			p.Value, err = h.value.Slice(lo, hi)
			require.NoError(t, err)
			p.Grad, err = h.grad.Slice(lo, hi)
			require.NoError(t, err)
			require.NoError(t, o.AddGroup(optim.DefaultSGD(), []optim.Param{p}))
			lo = hi
		}
		require.NoError(t, o.Step(nil))
		x, err := o.GradNorm(nil)
		require.NoError(t, err)
		require.NoError(t, o.Close())
		return x
	}
	want := norm(n + 33)
	require.Equal(t, want, norm(kernels.NormTile, n, n+33))
	require.Equal(t, want, norm(kernels.NormTile, 2*kernels.NormTile, n, n, n+33))
}

// A master is made of the values that are there when the first step is taken, not of those when it was captured or evaluated. Moved values are adopted
// when that is asked for.
func TestAdoptedWhen(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for name, form := range forms {
			if form.Master == optim.NoMaster {
				continue
			}
			form.Algorithm, form.Stochastic = optim.DefaultScheduleFreeSGD(), false
			h := onBackend(t, b)
			param := func(x ...float64) optim.Param {
				return optim.Param{Name: "a", Value: h.buffer(device.BFloat16, x), Grad: h.buffer(device.BFloat16, []float64{0.125, -0.5, 3})}
			}
			like, p := param(3, -5, 0), param(1, 2, 7)
			plain, err := optim.New(b, form, []optim.Param{like})
			require.NoError(t, err)
			o, err := optim.New(b, form, []optim.Param{p})
			require.NoError(t, err)
			eval := h.buffer(device.BFloat16, make([]float64, 3))
			evaluated := func() []float64 {
				require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"a": eval}))
				return h.values(eval)
			}
			require.Equal(t, []float64{1, 2, 7}, evaluated(), name)
			h.set(p.Value, []float64{4, 4, 4})
			require.Equal(t, []float64{4, 4, 4}, evaluated(), name)
			captured, err := o.Capture(nil)
			require.NoError(t, err)
			h.set(p.Value, []float64{3, -5, 0})
			same := func() {
				t.Helper()
				for range 2 {
					require.NoError(t, plain.Step(nil))
					require.NoError(t, captured.Replay(nil))
					require.Equal(t, h.values(like.Value), h.values(p.Value), name)
				}
				states, err := plain.States("a")
				require.NoError(t, err)
				for state, want := range states {
					got, err := o.State("a", state)
					require.NoError(t, err)
					require.Equal(t, h.numbers(want), h.numbers(got), "%s: %s", name, state)
				}
			}
			same()
			other := []float64{1, 64, -0.5}
			h.set(like.Value, other)
			p.Value = h.buffer(device.BFloat16, other)
			require.NoError(t, o.Rebind([]optim.Param{p}))
			require.ErrorIs(t, captured.Replay(nil), optim.ErrStale)
			require.NoError(t, captured.Close())
			captured, err = o.Capture(nil)
			require.NoError(t, err)
			require.NoError(t, plain.AdoptValues(nil))
			require.NoError(t, o.AdoptValues(nil, "a"))
			same()
			require.NoError(t, errors.Join(captured.Close(), o.Close(), plain.Close()))
		}
	})
}

// A training that goes back to where it was saved, with values and counters, goes on from there, though its masters are those of later.
func TestGoBack(t *testing.T) {
	for name, form := range forms {
		form.Algorithm, form.Stochastic = sgd(0.125), false
		h := newHarness(t, device.BFloat16, []float64{1, -3})
		h.set(h.grad, []float64{0.5, 4})
		o := h.optimizer(form)
		require.NoError(t, o.Step(nil))
		saved := h.values(h.value)
		counters, err := o.GroupCounters(nil, 0)
		require.NoError(t, err)
		require.NoError(t, o.Step(nil))
		want := h.values(h.value)
		require.NoError(t, o.Step(nil))
		h.set(h.value, saved)
		if form.Master >= optim.MasterRemainder { // which fits nearly all values
			require.NoError(t, h.memory.DefaultStream().Zero(h.state(o, "remainder")))
		}
		require.NoError(t, o.SetGroupCounters(nil, 0, counters))
		require.NoError(t, o.SetSteps(1))
		require.NoError(t, o.Step(nil))
		require.Equal(t, want, h.values(h.value), name)
	}
}
