package optim_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// scaler is torch's default GradScaler, changed.
func scaler(change func(*optim.GradScaler)) *optim.GradScaler {
	g := optim.DefaultGradScaler()
	change(&g)
	return &g
}

// A sequence of steps of these kinds is held to a model: an optimizer without control that takes the good steps alone.
const (
	good     = iota
	overflow // a gradient of the first tensor is infinite
	resume   // everything is saved and put into a new optimizer
	outcomes
)

// Every sequence up to length 6, with an overflow in the first step and everywhere, before and after a resume.
func TestSkipSequences(t *testing.T) {
	length := 6
	if testing.Short() {
		length = 4
	}
	algorithms := []optim.Algorithm{
		with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.Momentum, c.Dampening = 0.5, 0.9, 0.5 }), // the first step is another
		optim.DefaultAdamW(), optim.DefaultLion(), optim.DefaultRprop(),
		with(optim.DefaultAdagrad(), func(c *optim.Adagrad) { c.InitialAccumulator = 0.25 }), // state that starts at a hyperparameter
	}
	for _, alg := range algorithms {
		t.Run(fmt.Sprintf("%T", alg), func(t *testing.T) {
			sequence := make([]int, length)
			for range int(math.Pow(outcomes, float64(length))) {
				skipSequence(t, alg, sequence)
				for i := range sequence { // the next one
					if sequence[i] = (sequence[i] + 1) % outcomes; sequence[i] != 0 {
						break
					}
				}
			}
		})
	}
}

// side is an optimizer of two tensors with different types.
type side struct {
	*optim.Optimizer
	h      *harness
	values []*device.Buffer
	grads  []*device.Buffer
}

func newSide(t *testing.T, h *harness, alg optim.Algorithm, start [][]float64, control bool) *side {
	s := &side{h: h}
	var params []optim.Param
	for i, x := range start {
		s.values = append(s.values, h.buffer([]device.DType{device.Float32, device.BFloat16}[i], x))
		s.grads = append(s.grads, h.buffer([]device.DType{device.Float32, device.Float16}[i], make([]float64, len(x))))
		params = append(params, optim.Param{Name: strconv.Itoa(i), Value: s.values[i], Grad: s.grads[i]})
	}
	var err error
	s.Optimizer, err = optim.New(h.dev, alg, params[:1])
	require.NoError(t, err)
	require.NoError(t, s.AddGroup(alg, params[1:]))
	if control {
		require.NoError(t, s.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.InitScale, g.GrowthInterval = 8, 2 })))
	}
	return s
}

// state is all that a side keeps beside its values.
func (s *side) state(t *testing.T) (states map[string][]float64, counters map[string]map[string]float64) {
	states, counters = map[string][]float64{}, map[string]map[string]float64{}
	for _, name := range []string{"0", "1"} {
		all, err := s.States(name)
		require.NoError(t, err)
		for slot, b := range all {
			states[name+slot] = s.h.values(b)
		}
		counters[name], err = s.TensorCounters(nil, name)
		require.NoError(t, err)
	}
	return states, counters
}

// skipSequence takes the steps. What a beginning of the sequence has come to is looked at once, where nothing but good steps follow.
func skipSequence(t *testing.T, alg optim.Algorithm, sequence []int) {
	h := newHarness(t, device.Float32, nil)
	start := [][]float64{{1, -2, 3}, {0.5, 0.25}}
	own, model := newSide(t, h, alg, start, true), newSide(t, h, alg, start, false)
	defer func() { own.Close(); model.Close() }()
	scale, tracker, enqueued, applied := 8.0, 0, 0, 0
	for i, kind := range sequence {
		when := fmt.Sprintf("step %d of %v", i, sequence)
		if kind == resume {
			states, counters := own.state(t)
			scaled, err := own.GradScalerState(nil)
			require.NoError(t, err)
			next := newSide(t, h, alg, [][]float64{h.values(own.values[0]), h.values(own.values[1])}, true)
			require.NoError(t, next.SetGradScalerState(nil, scaled))
			require.NoError(t, next.SetSteps(own.Steps()))
			for _, name := range []string{"0", "1"} {
				all, err := next.States(name)
				require.NoError(t, err)
				for slot, b := range all {
					h.set(b, states[name+slot])
				}
				require.NoError(t, next.SetTensorCounters(nil, name, counters[name]))
			}
			require.NoError(t, own.Close())
			own = next
			continue
		}
		enqueued++
		for k, g := range [][]float64{{0.5, -0.25, 1}, {-2, 0.125}} {
			for e := range g {
				g[e] *= 1 + 0.25*float64(i)
			}
			h.set(model.grads[k], g)
			for e := range g {
				g[e] *= scale
			}
			if kind == overflow && k == 0 {
				g[1] = math.Inf(-1)
			}
			h.set(own.grads[k], g)
		}
		require.NoError(t, own.Step(nil), when)
		if kind == overflow {
			scale, tracker = scale/2, 0
		} else {
			require.NoError(t, model.Step(nil), when)
			applied++
			if tracker++; tracker == 2 {
				scale, tracker = scale*2, 0
			}
		}
		if slices.ContainsFunc(sequence[i+1:], func(kind int) bool { return kind != good }) {
			continue
		}
		for k := range own.values {
			require.Equal(t, h.values(model.values[k]), h.values(own.values[k]), when)
		}
		states, counters := own.state(t)
		wantStates, wantCounters := model.state(t)
		require.Equal(t, wantStates, states, when)
		require.Equal(t, wantCounters, counters, when)
		scaled, err := own.GradScalerState(nil)
		require.NoError(t, err)
		require.Equal(t, []any{scale, tracker}, []any{scaled.Scale, scaled.GrowthTracker}, when)
		require.Equal(t, enqueued, own.Steps())
	}
}

// What is not finite is found wherever it is, in every type of gradient, and no tensor of any group changes.
func TestNonFiniteIsFound(t *testing.T) {
	const n = kernels.NormTile + kernels.NormLanes + 9 // a tile, a row and a tail
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		for _, dtype := range []device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16} {
			parameter := device.Float32
			if dtype == device.Float64 {
				parameter = dtype
			}
			x := make([]float64, n)
			for i := range x {
				x[i] = float64(i%7) - 3
			}
			first, second := h.buffer(parameter, x[:5]), h.buffer(parameter, x)
			grad := h.buffer(dtype, x)
			short, err := grad.Slice(0, 5)
			require.NoError(t, err)
			o, err := optim.New(b, sgd(0.5), []optim.Param{{Value: first, Grad: short}})
			require.NoError(t, err)
			require.NoError(t, o.AddGroup(optim.DefaultLion(), []optim.Param{{Value: second, Grad: grad}}))
			require.NoError(t, o.SetSkip(nil, optim.Skip{NonFinite: true}))
			places := []int{0, 1, 4, 5, kernels.NormLanes - 1, kernels.NormLanes, kernels.NormTile - 1, kernels.NormTile, n - 10, n - 9, n - 2, n - 1}
			if !testing.Short() {
				places = nil
				for i := range n {
					if i < 300 || i > kernels.NormTile-150 {
						places = append(places, i)
					}
				}
			}
			skipped := 0
			for i, at := range places {
				bad := []float64{math.NaN(), math.Inf(1), math.Inf(-1)}[i%3]
				one, err := grad.Slice(at, at+1)
				require.NoError(t, err)
				h.set(one, []float64{bad})
				require.NoError(t, o.Step(nil))
				h.set(one, x[at:at+1])
				skipped++
				out, err := o.Outcome(nil)
				require.NoError(t, err)
				require.Equal(t, []any{false, true, skipped}, []any{out.Applied(), out.FoundInf(), out.SkippedSteps()}, "%s: %v at %d", dtype, bad, at)
			}
			require.Equal(t, x[:5], h.values(first))
			require.Equal(t, x, h.values(second))
			require.NoError(t, o.Step(nil))
			out, err := o.Outcome(nil)
			require.NoError(t, err)
			require.True(t, out.Applied())
			require.NotEqual(t, x, h.values(second))
			require.NoError(t, o.Close())
		}
	})
}

// The largest numbers of each type are no overflow: the sum of their squares is finite, of float64 after scaling.
func TestLargeIsFinite(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		for dtype, large := range map[device.DType]float64{device.Float32: math.MaxFloat32, device.Float64: math.MaxFloat64,
			device.BFloat16: 0x1.fep127, device.Float16: 65504} {
			parameter := device.Float32
			if dtype == device.Float64 {
				parameter = dtype
			}
			grad := h.buffer(dtype, slices.Repeat([]float64{large, -large}, 40))
			o, err := optim.New(b, sgd(0), []optim.Param{{Value: h.buffer(parameter, make([]float64, 80)), Grad: grad}})
			require.NoError(t, err)
			require.NoError(t, o.SetSkip(nil, optim.Skip{NonFinite: true}))
			require.NoError(t, o.Step(nil))
			out, err := o.Outcome(nil)
			require.NoError(t, err)
			require.True(t, out.Applied(), dtype)
			require.NoError(t, o.Close())
		}
	})
}

// controlled is an optimizer of one tensor with the gradient.
func controlled(t *testing.T, alg optim.Algorithm, grad ...float64) (*harness, *optim.Optimizer) {
	h := newHarness(t, device.Float32, make([]float64, len(grad)))
	h.set(h.grad, grad)
	return h, h.optimizer(alg)
}

func outcome(t *testing.T, o *optim.Optimizer) optim.Outcome {
	out, err := o.Outcome(nil)
	require.NoError(t, err)
	return out
}

func TestSkipNormAbove(t *testing.T) {
	h, o := controlled(t, sgd(1), 3, 4)
	require.NoError(t, o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.InitScale, g.GrowthInterval = 2, 1 }))) // the norm is 2.5
	require.NoError(t, o.SetSkip(nil, optim.Skip{NormAbove: 2}))
	require.NoError(t, o.Step(nil))
	out := outcome(t, o)
	require.Equal(t, []any{false, false, 2.5, 4.0, 1}, []any{out.Applied(), out.FoundInf(), out.GradNorm(), out.LossScale(), out.SkippedSteps()},
		"the scale grows: there was no overflow")
	require.Equal(t, []float64{0, 0}, h.values(h.value))
	require.NoError(t, o.Step(nil)) // 1.25
	out = outcome(t, o)
	require.Equal(t, []any{true, 1.25, 8.0, 1, 1}, []any{out.Applied(), out.GradNorm(), out.LossScale(), out.SkippedSteps(), out.AppliedSteps()})
	require.Equal(t, []float64{-0.75, -1}, h.values(h.value))
}

// Unscaling comes before clipping, and the norm is that of the unscaled gradients.
func TestScaledStepIsUnscaledStep(t *testing.T) {
	h, o := controlled(t, optim.DefaultAdamW(), 3*1024, 4*1024)
	require.NoError(t, o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.InitScale = 1024 })))
	plain, p := controlled(t, optim.DefaultAdamW(), 3, 4)
	for _, o := range []*optim.Optimizer{o, p} {
		require.NoError(t, o.SetClipNorm(1))
		for range 3 {
			require.NoError(t, o.Step(nil))
		}
		norm, err := o.GradNorm(nil)
		require.NoError(t, err)
		require.Equal(t, 5.0, norm)
	}
	require.Equal(t, plain.values(plain.value), h.values(h.value))
}

func TestMeasureGradNorm(t *testing.T) {
	h, o := controlled(t, sgd(1), 3, 4)
	require.EqualError(t, o.MeasureGradNorm(nil), "optim: measure gradient norm: SetClipNorm, SetClipTensorNorm, SetGradScaler and SetSkip are off")
	require.NoError(t, o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.InitScale, g.GrowthInterval = 2, 1 })))
	for range 2 { // the second time nothing is done
		require.NoError(t, o.MeasureGradNorm(nil))
		out := outcome(t, o)
		require.Equal(t, []any{2.5, 2.0, 0}, []any{out.GradNorm(), out.LossScale(), out.AppliedSteps()}, "no step was taken")
		norm, err := o.GradNorm(nil)
		require.NoError(t, err)
		require.Equal(t, 2.5, norm)
	}
	h.set(h.grad, []float64{math.Inf(1), 0}) // which must not be: the step does not see it
	require.NoError(t, o.Step(nil))
	out := outcome(t, o)
	require.Equal(t, []any{2.5, 4.0, 1}, []any{out.GradNorm(), out.LossScale(), out.AppliedSteps()})
	require.NoError(t, o.Step(nil))
	out = outcome(t, o)
	require.False(t, out.Applied())

	require.NoError(t, o.MeasureGradNorm(nil)) // of gradients that are then others
	other := h.buffer(device.Float32, []float64{6, 8})
	require.NoError(t, o.SetGrad("0.0", other))
	require.NoError(t, o.Step(nil))
	out = outcome(t, o)
	require.Equal(t, []any{true, 5.0, 2, 1}, []any{out.Applied(), out.GradNorm(), out.AppliedSteps(), out.SkippedSteps()})
}

// Sums of more tensors than were measured before are measured, though no gradient has moved since.
func TestMeasureGradNormOfMoreSums(t *testing.T) {
	for _, movable := range []bool{true, false} {
		t.Run(fmt.Sprint("movable=", movable), func(t *testing.T) {
			h := newHarness(t, device.Float32, nil)
			var b optim.Backend = h.dev
			if !movable {
				b = struct{ optim.Backend }{b}
			}
			grads := []*device.Buffer{h.buffer(device.Float32, []float64{3}), h.buffer(device.Float32, []float64{4})}
			params := []optim.Param{{Value: h.buffer(device.Float32, []float64{1}), Grad: grads[0]}, {Value: h.buffer(device.Float32, []float64{1}), Grad: grads[1]}}
			o, err := optim.New(b, sgd(1), params)
			require.NoError(t, err)
			require.NoError(t, o.SetClipNorm(100))
			require.NoError(t, o.SetAccumulate(true))
			measure := func(want float64) {
				t.Helper()
				require.NoError(t, o.MeasureGradNorm(nil))
				norm, err := o.GradNorm(nil)
				require.NoError(t, err)
				require.Equal(t, want, norm)
			}
			require.NoError(t, o.Accumulate(nil))
			measure(5)
			require.NoError(t, o.Step(nil))
			require.NoError(t, o.SetGrad("0.1", nil))
			require.NoError(t, o.Accumulate(nil))
			measure(3)
			require.NoError(t, o.SetGrad("0.1", grads[1]))
			measure(3)
			h.set(grads[0], []float64{0})
			require.NoError(t, o.Accumulate(nil))
			measure(5)
			require.NoError(t, o.Step(nil))
			norm, err := o.GradNorm(nil)
			require.NoError(t, err)
			require.Equal(t, 5.0, norm)
		})
	}
}

// A first step that is skipped leaves the state as a new tensor's: a hyperparameter that it starts at may change.
func TestSkippedFirstStepIsNone(t *testing.T) {
	alg := with(optim.DefaultAdagrad(), func(c *optim.Adagrad) { c.InitialAccumulator = 0.25 })
	h, o := controlled(t, alg, math.NaN(), 1)
	require.NoError(t, o.SetSkip(nil, optim.Skip{NonFinite: true}))
	require.NoError(t, o.Step(nil))
	require.NoError(t, o.SetHyperparameter("initial_accumulator_value", 2))
	require.NoError(t, o.Step(nil))
	sum, err := o.State("0.0", "sum")
	require.NoError(t, err)
	require.Equal(t, []float64{2, 2}, h.values(sum))
	h.set(h.grad, []float64{1, 1})
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{3, 3}, h.values(sum))
	require.NoError(t, o.SetHyperparameter("initial_accumulator_value", 4))
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{4, 4}, h.values(sum), "it has taken a step")
	counters, err := o.GroupCounters(nil, 0)
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"step": 2}, counters)
}

// Tensors that were left out of skipped steps alone have the history of those that were not.
func TestSkippedStepsPartNoTensors(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	bad, fine := h.buffer(device.Float32, []float64{math.Inf(1)}), h.buffer(device.Float32, []float64{1})
	o, err := optim.New(h.dev, optim.DefaultAdamW(), []optim.Param{{Name: "a", Value: h.value, Grad: bad}, {Name: "b", Value: h.buffer(device.Float32, []float64{1})}})
	require.NoError(t, err)
	require.NoError(t, o.SetSkip(nil, optim.Skip{NonFinite: true}))
	for range 3 {
		require.NoError(t, o.Step(nil))
	}
	require.NoError(t, o.SetGrad("a", fine))
	require.NoError(t, o.SetGrad("b", fine))
	require.NoError(t, o.Step(nil))
	counters, err := o.GroupCounters(nil, 0) // which fails where histories differ
	require.NoError(t, err)
	require.Equal(t, 1.0, counters["step"])
	require.Equal(t, 4, o.Steps())
	require.NoError(t, o.Foreseen())
}

// The learning rate follows all steps, or those that were applied.
func TestScheduleCounts(t *testing.T) {
	for _, counts := range []optim.ScheduleCounts{optim.AllSteps, optim.AppliedSteps} {
		h, o := controlled(t, sgd(1), 1)
		require.NoError(t, o.SetScheduleCounts(counts))
		require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(k int) float64 { return float64(k + 1) })))
		var all, applied []float64
		next := func(bad bool) {
			g := 1.0
			if bad {
				g = math.NaN()
			}
			h.set(h.grad, []float64{g})
			require.NoError(t, o.Step(nil))
			lr, err := o.LastLR(0)
			require.NoError(t, err)
			if counts == optim.AllSteps {
				all = append(all, lr)
			} else {
				applied = append(applied, lr)
			}
		}
		next(false) // nothing is measured
		require.NoError(t, o.SetSkip(nil, optim.Skip{NonFinite: true}))
		for _, bad := range []bool{true, true, false, true, false} {
			next(bad)
		}
		out := outcome(t, o)
		require.Equal(t, []int{3, 3}, []int{out.AppliedSteps(), out.SkippedSteps()})
		require.NoError(t, o.SetSkip(nil, optim.Skip{}))
		require.NoError(t, o.SetClipNorm(1e9))
		next(false)
		out = outcome(t, o)
		require.Equal(t, []int{4, 3}, []int{out.AppliedSteps(), out.SkippedSteps()})
		require.NoError(t, o.SetSkip(nil, optim.Skip{NonFinite: true}))
		next(false)
		require.NoError(t, o.SetSteps(100))
		counters, err := o.GroupCounters(nil, 0)
		require.NoError(t, err)
		require.NoError(t, o.SetGroupCounters(nil, 0, counters))
		next(true)
		next(false)
		out = outcome(t, o)
		require.Equal(t, []int{101, 1}, []int{out.AppliedSteps(), out.SkippedSteps()})
		if counts == optim.AllSteps {
			require.Equal(t, []float64{1, 2, 3, 4, 5, 6, 7, 8, 101, 102}, all)
		} else {
			require.Equal(t, []float64{1, 2, 2, 2, 3, 3, 4, 5, 101, 101}, applied)
		}
		require.ErrorIs(t, o.SetScheduleCounts(2), device.ErrRange)
	}
}

// A scalar that a type cannot hold is that of the step which is really made, not of one that skipped steps would have led to.
func TestForeseenAfterSkips(t *testing.T) {
	h, o := controlled(t, optim.DefaultAdamW(), math.NaN())
	require.NoError(t, o.SetSkip(nil, optim.Skip{NonFinite: true}))
	for range 5 {
		require.NoError(t, o.Step(nil))
	}
	require.Error(t, o.Foreseen(), "the host is ahead")
	h.set(h.grad, []float64{1})
	require.NoError(t, o.SetSchedule(optim.ScheduleFunc(func(int) float64 { return 1e300 })))
	var e *optim.ScalarError
	require.ErrorAs(t, o.Step(nil), &e)
	require.NoError(t, o.Foreseen(), "and has looked")
}

func TestGradScalerErrors(t *testing.T) {
	h, o := controlled(t, sgd(1), 1)
	nan, inf := math.NaN(), math.Inf(1)
	_, err := o.LossScale()
	require.EqualError(t, err, "optim: loss scale: there is no GradScaler")
	_, err = o.GradScalerState(nil)
	require.EqualError(t, err, "optim: grad scaler state: there is no GradScaler")
	require.EqualError(t, o.SetGradScalerState(nil, optim.GradScalerState{}), "optim: set grad scaler state: there is no GradScaler")
	_, err = o.Outcome(nil)
	require.EqualError(t, err, "optim: outcome: no step was measured")
	require.NoError(t, o.SetGradScaler(nil, scaler(func(*optim.GradScaler) {})))
	before, err := o.GradScalerState(nil)
	require.NoError(t, err)
	require.Equal(t, optim.GradScalerState{Scale: 65536, GrowthFactor: 2, BackoffFactor: 0.5, GrowthInterval: 2000, HysteresisTracker: 1}, before)
	text, err := json.Marshal(before)
	require.NoError(t, err)
	require.JSONEq(t, `{"scale": 65536, "growth_factor": 2, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0, "hysteresis_tracker": 1}`, string(text))

	refused := func(err error, name string) {
		t.Helper()
		var e *optim.HyperparameterError
		require.ErrorAs(t, err, &e)
		require.Equal(t, name, e.Name)
		after, err := o.GradScalerState(nil)
		require.NoError(t, err)
		require.Equal(t, before, after)
	}
	for _, x := range []float64{0, -1, nan, inf, 1e300, 1e-300} {
		refused(o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.InitScale = x })), "init_scale")
	}
	for _, x := range []float64{1, 0.5, nan, inf} {
		refused(o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.GrowthFactor = x })), "growth_factor")
		refused(o.SetGradScalerState(nil, optim.GradScalerState{Scale: 1, GrowthFactor: x, BackoffFactor: 0.5, GrowthInterval: 1}), "growth_factor")
	}
	for _, x := range []float64{0, 1, -0.5, nan, inf} {
		refused(o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.BackoffFactor = x })), "backoff_factor")
	}
	refused(o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.GrowthInterval = 0 })), "growth_interval")
	refused(o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.Hysteresis = 0 })), "hysteresis")
	for _, x := range []float64{-1, 65537, nan, inf} {
		refused(o.SetGradScaler(nil, scaler(func(g *optim.GradScaler) { g.MinScale = x })), "min_scale")
	}
	for _, x := range []float64{-1, nan, inf, 0.1, 1e300} {
		state := before
		state.Scale = x
		refused(o.SetGradScalerState(nil, state), "scale")
	}
	for _, x := range []int{-1, 2000} {
		state := before
		state.GrowthTracker = x
		refused(o.SetGradScalerState(nil, state), "_growth_tracker")
	}
	state := before
	state.HysteresisTracker = 2
	refused(o.SetGradScalerState(nil, state), "hysteresis_tracker")
	for _, x := range []float64{-1, nan, inf} {
		refused(o.SetSkip(nil, optim.Skip{NormAbove: x}), "norm_above")
	}
	require.NoError(t, o.Step(nil))
	require.NoError(t, o.SetGradScaler(nil, nil))
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{-1 - 0x1p-16}, h.values(h.value), "unscaled, and then as it is")
	require.NoError(t, o.Close())
	require.ErrorIs(t, o.SetGradScaler(nil, nil), device.ErrClosed)
	require.ErrorIs(t, o.SetSkip(nil, optim.Skip{}), device.ErrClosed)
	require.ErrorIs(t, o.MeasureGradNorm(nil), device.ErrClosed)
	require.ErrorIs(t, o.SetScheduleCounts(0), device.ErrClosed)
	_, err = o.Outcome(nil)
	require.ErrorIs(t, err, device.ErrClosed)
}

// M: a step with a scaler allocates nothing, and waits for nothing: the outcomes of steps that nobody has waited for are read together.
func TestControlledSteps(t *testing.T) {
	h, o := controlled(t, optim.DefaultAdamW(), 1, 2)
	require.NoError(t, o.SetGradScaler(nil, scaler(func(*optim.GradScaler) {})))
	require.NoError(t, o.SetClipNorm(1))
	for range 10 {
		require.NoError(t, o.Step(nil))
	}
	allocatesNothing(t, func() {
		require.NoError(t, o.Step(nil))
		require.NoError(t, h.dev.DefaultStream().Synchronize())
	})
	before := outcome(t, o)
	bad := h.buffer(device.Float32, []float64{1, math.NaN()})
	outcomes := make([]optim.Outcome, 9)
	s := h.dev.DefaultStream()
	for i := range outcomes {
		if i%3 == 1 {
			require.NoError(t, s.Copy(h.grad, bad))
		} else {
			require.NoError(t, s.Zero(h.grad))
		}
		require.NoError(t, o.Step(s))
		require.NoError(t, o.DownloadOutcome(s, &outcomes[i]))
	}
	require.NoError(t, s.Synchronize())
	for i, out := range outcomes {
		require.Equal(t, []any{i%3 != 1, (i + 2) / 3, before.AppliedSteps() + i + 1 - (i+2)/3, math.Ldexp(65536, -(i+2)/3)},
			[]any{out.Applied(), out.SkippedSteps(), out.AppliedSteps(), out.LossScale()}, "step %d", i)
	}
}
