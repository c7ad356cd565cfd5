package optim_test

import (
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

// Torch's GradScaler, to the bit: growth, overflow, several in a row, growth to infinity.
func TestTorchGradScaler(t *testing.T) {
	var file struct {
		LR    float64
		Start []float64
		Cases []struct {
			Name           string
			InitScale      float64 `json:"init_scale"`
			GrowthFactor   float64 `json:"growth_factor"`
			BackoffFactor  float64 `json:"backoff_factor"`
			GrowthInterval int     `json:"growth_interval"`
			Steps          []struct {
				Grad    []string
				Param   []float64
				Scale   float64
				Tracker int `json:"_growth_tracker"`
			}
		}
	}
	torchFile(t, "scaler.json", &file)
	require.NotEmpty(t, file.Cases)
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		for _, c := range file.Cases {
			value, grad := h.buffer(device.Float32, file.Start), h.buffer(device.Float32, make([]float64, len(file.Start)))
			o, err := optim.New(b, sgd(file.LR), []optim.Param{{Value: value, Grad: grad}})
			require.NoError(t, err)
			require.NoError(t, o.SetGradScaler(nil, &optim.GradScaler{InitScale: c.InitScale, GrowthFactor: c.GrowthFactor,
				BackoffFactor: c.BackoffFactor, GrowthInterval: c.GrowthInterval, Hysteresis: 1}))
			scale, err := o.LossScale()
			require.NoError(t, err)
			skipped := 0
			for i, step := range c.Steps {
				g, found := make([]float64, len(step.Grad)), false
				for k, text := range step.Grad {
					g[k], err = strconv.ParseFloat(text, 64)
					require.NoError(t, err)
					found = found || math.IsNaN(g[k]) || math.IsInf(g[k], 0)
				}
				h.set(grad, g)
				require.NoError(t, o.Step(nil))
				when := fmt.Sprintf("%s: step %d", c.Name, i)
				require.Equal(t, step.Param, h.values(value), when)
				state, err := o.GradScalerState(nil)
				require.NoError(t, err)
				require.Equal(t, step.Scale, state.Scale, when)
				require.Equal(t, step.Tracker, state.GrowthTracker, when)
				require.Equal(t, []float64{step.Scale}, h.values(scale), when)
				out, err := o.Outcome(nil)
				require.NoError(t, err)
				if found {
					skipped++
				}
				require.Equal(t, []any{!found, found, skipped, i + 1 - skipped, step.Scale},
					[]any{out.Applied(), out.FoundInf(), out.SkippedSteps(), out.AppliedSteps(), out.LossScale()}, when)
			}
			require.NoError(t, o.Close())
		}
	})
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
			for n, count := 1, outcomes; n <= length; n, count = n+1, count*outcomes {
				for code := range count {
					sequence := make([]int, n)
					for i, x := 0, code; i < n; i, x = i+1, x/outcomes {
						sequence[i] = x % outcomes
					}
					skipSequence(t, alg, sequence)
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
