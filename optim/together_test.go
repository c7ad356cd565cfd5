package optim_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
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

// forms are all in which a step holds parameters and state.
var forms = map[string]optim.Stored{
	"f32":            {},
	"all bf16":       {All: device.BFloat16},
	"master":         {Master: optim.MasterFloat32, All: device.BFloat16},
	"remainder":      {Master: optim.MasterRemainder},
	"remainder8":     {Master: optim.MasterRemainder8, All: device.BFloat16, Stochastic: true},
	"all stochastic": {All: device.BFloat16, Stochastic: true},
}

// A tensor gets the same bits in one group and in many, in any order, with any number of threads and wherever it lies in memory, with a loss scale, skipped
// steps, sums, an average and clipping by norm. The norm goes by the order of tensors: these gradients have squares whose sum is exact in any.
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
