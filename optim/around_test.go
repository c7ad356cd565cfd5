package optim_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/optim"
)

// What is done around a step of SGD has PyTorch's bits: gradients of micro-batches are added up, the sum is clipped by value, and the values'
// average is kept. Torch's other way to the average, by foreach_lerp, is within a derived bound.
func TestTorchAround(t *testing.T) {
	var file struct {
		LR        float64
		ClipValue float64 `json:"clip_value"`
		Init      map[string][]float64
		Grads     map[string][][][]float64 // by step and micro-batch
		Cases     []struct {
			DType       string
			Decay       float64
			WeightDecay float64 `json:"weight_decay"`
			Param, EMA  [][]float64
			Lerp        [][]float64 `json:"ema_lerp"`
		}
	}
	torchFile(t, "around.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, c := range file.Cases {
		t.Run(fmt.Sprintf("decay %v, weight_decay %v, %s", c.Decay, c.WeightDecay, c.DType), func(t *testing.T) {
			dtype, err := device.ParseDType(c.DType)
			require.NoError(t, err)
			h := newHarness(t, dtype, file.Init[c.DType])
			alg := sgd(file.LR)
			alg.WeightDecay = c.WeightDecay
			o := h.optimizer(optim.Averaged{Algorithm: alg, Decay: c.Decay})
			require.NoError(t, o.SetAccumulate(true))
			require.NoError(t, o.SetClipValue(file.ClipValue))
			bound := make([]float64, len(file.Init[c.DType]))
			for step, micro := range file.Grads[c.DType] {
				for _, g := range micro {
					h.set(h.grad, g)
					require.NoError(t, o.Accumulate(nil))
				}
				require.NoError(t, o.Step(nil))
				value, ema := h.values(h.value), h.values(h.state(o, "ema"))
				require.Equal(t, c.Param[step], value, "step %d", step)
				require.Equal(t, c.EMA[step], ema, "step %d", step)
				require.Equal(t, ema, h.values(h.state(o, "eval_params")), "step %d", step)
				// See the README: m + w·(p - m), or p - (p - m)·d, has three roundings and so has ours; w and d do not add up to 1.
				u, d, w := roundoff(dtype), c.Decay, 1-c.Decay
				for i := range bound {
					if step > 0 {
						m, p := math.Abs(c.EMA[step-1][i]), math.Abs(value[i])
						now := math.Abs(ema[i])
						bound[i] = 1.01 * (d*bound[i] + u*(m+d*m+w*p+now) + u*(2*min(w, d)*(m+p)+now))
					}
				}
				within(t, fmt.Sprintf("step %d lerp", step), ema, c.Lerp[step], bound)
			}
		})
	}
}

// around turns on what a test tries.
func around(t *testing.T, o *optim.Optimizer, clip float64, zero bool) {
	require.NoError(t, o.SetClipValue(clip))
	require.NoError(t, o.SetZeroGrad(zero))
}

// Norm first, then value: what both leave is what a step without either makes of the gradient that was clipped by hand. A NaN stays, an
// infinity is clipped.
func TestClipValue(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		norm, value float64
		grad, want  []float64 // of lr 1, from 0
	}{
		{0, 0.5, []float64{1, -1, 0.5, -0.25, nan, inf, -inf}, []float64{-0.5, 0.5, -0.5, 0.25, nan, -0.5, 0.5}},
		{1, 0.5, []float64{3, -4}, []float64{-0.5, 0.5}},
		{inf, 0.5, []float64{0.25, 2}, []float64{-0.25, -0.5}},
	} {
		onExecutors(t, func(t *testing.T, b kernels.Backend) {
			for _, dtype := range []device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16} {
				h := onBackend(t, b)
				p := optim.Param{Name: "p", Value: h.buffer(dtype, make([]float64, len(c.grad))), Grad: h.buffer(dtype, c.grad)}
				o, err := optim.New(b, sgd(1), []optim.Param{p})
				require.NoError(t, err)
				require.NoError(t, o.SetClipNorm(c.norm))
				require.NoError(t, o.SetClipValue(c.value))
				require.NoError(t, o.Step(nil))
				got := h.values(p.Value)
				for i, want := range c.want {
					require.True(t, got[i] == want || math.IsNaN(want) && math.IsNaN(got[i]), "%s: p[%d] is %v, want %v", dtype, i, got[i], want)
				}
				if c.norm > 0 {
					norm, err := o.GradNorm(nil)
					require.NoError(t, err)
					require.InEpsilon(t, math.Hypot(c.grad[0], c.grad[1]), norm, 1e-15, "that of the gradient before either")
				}
				require.NoError(t, o.SetClipValue(0))
				h.set(p.Value, make([]float64, len(c.grad)))
				h.set(p.Grad, []float64{1, 2, 3, 4, 5, 6, 7}[:len(c.grad)])
				require.NoError(t, o.SetClipNorm(0))
				require.NoError(t, o.Step(nil))
				require.Equal(t, []float64{-1, -2, -3, -4, -5, -6, -7}[:len(c.grad)], h.values(p.Value), "it is off again")
				require.NoError(t, o.Close())
			}
		})
	}
}

func TestClipValueErrors(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{0})
	h.set(h.grad, []float64{3})
	o := h.optimizer(sgd(1))
	require.NoError(t, o.SetClipValue(0.5))
	for _, x := range []float64{-1, math.NaN(), math.Inf(1), 1e-46, 1e39} {
		var e *optim.HyperparameterError
		require.ErrorAs(t, o.SetClipValue(x), &e)
		require.Equal(t, "clip_grad_value", e.Algorithm)
		require.Equal(t, "clip_value", e.Name)
	}
	require.EqualError(t, o.SetClipValue(1e-46), "optim: clip_grad_value: clip_value is 1e-46, must be 0, or at least 2^-149, which is the least that float32 has")
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{-0.5}, h.values(h.value), "as it was")

	// A group of float32 that is added to one of float64 has the same demands.
	h = newHarness(t, device.Float64, []float64{0})
	o = h.optimizer(sgd(1))
	require.NoError(t, o.SetClipValue(1e-46))
	narrow := optim.Param{Name: "narrow", Value: h.buffer(device.Float32, []float64{0})}
	var e *optim.HyperparameterError
	require.ErrorAs(t, o.AddGroup(sgd(1), []optim.Param{narrow}), &e)
	require.NoError(t, o.Step(nil))
	require.NoError(t, o.Close())
	require.ErrorIs(t, o.SetClipValue(1), device.ErrClosed)
	require.ErrorIs(t, o.SetZeroGrad(true), device.ErrClosed)
	require.ErrorIs(t, o.SetAccumulate(true), device.ErrClosed)
	require.ErrorIs(t, o.Accumulate(nil), device.ErrClosed)
}

// A step that sets gradients to 0 has the bits of one that does not, and leaves +0 in the gradients that it has read, and in no others.
func TestSetZeroGrad(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, types := range [][2]device.DType{{device.Float32, device.Float32}, {device.Float64, device.Float64},
			{device.BFloat16, device.BFloat16}, {device.Float16, device.Float32}, {device.Float32, device.BFloat16}} {
			rng, h := rand.New(rand.NewPCG(1, 2)), onBackend(t, b)
			var params [2][]optim.Param
			for i, n := range []int{37, 5, 130} {
				init := random(rng, n)
				for k := range params {
					params[k] = append(params[k], optim.Param{Name: fmt.Sprint(i), Value: h.buffer(types[0], init), Grad: h.buffer(types[1], init)})
				}
			}
			var opts [2]*optim.Optimizer
			for k := range opts {
				var err error
				opts[k], err = optim.New(b, optim.DefaultAdamW(), params[k])
				require.NoError(t, err)
			}
			require.NoError(t, opts[1].SetZeroGrad(true))
			for step := range 3 {
				for i := range params[0] {
					g := random(rng, params[0][i].Grad.Len())
					g[0], g[1] = math.Inf(-1), math.NaN()
					for k := range params {
						h.set(params[k][i].Grad, g)
						grad := params[k][i].Grad
						if step == 1 && i == 0 {
							grad = nil
						}
						require.NoError(t, opts[k].SetGrad(params[k][i].Name, grad))
					}
				}
				for _, o := range opts {
					require.NoError(t, o.Step(nil))
				}
				for i := range params[0] {
					requireSame(t, h.values(params[0][i].Value), h.values(params[1][i].Value))
					for _, g := range h.values(params[1][i].Grad) {
						if step == 1 && i == 0 {
							require.NotZero(t, g, "it was left out")
						} else {
							require.Zero(t, math.Float64bits(g), "+0")
						}
					}
				}
			}
			for _, o := range opts {
				require.NoError(t, o.Close())
			}
		}
	})
}

// requireSame holds numbers to each other, bit for bit; NaN is NaN.
func requireSame(t *testing.T, want, got []float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		if math.Float64bits(want[i]) != math.Float64bits(got[i]) && !(math.IsNaN(want[i]) && math.IsNaN(got[i])) {
			t.Fatalf("element %d is %v (%x), want %v (%x)", i, got[i], math.Float64bits(got[i]), want[i], math.Float64bits(want[i]))
		}
	}
}

// Gradients that are written share memory with nothing, and what is refused changes nothing.
func TestSetZeroGradOverlaps(t *testing.T) {
	h := newHarness(t, device.Float32, nil)
	shared := h.buffer(device.Float32, []float64{1, 2, 3})
	part := func(lo int) *device.Buffer {
		b, err := shared.Slice(lo, lo+2)
		require.NoError(t, err)
		return b
	}
	param := func(name string, grad *device.Buffer) optim.Param {
		return optim.Param{Name: name, Value: h.buffer(device.Float32, []float64{0, 0}), Grad: grad}
	}
	refused := func(err error, tensor string) {
		t.Helper()
		var e *optim.TensorError
		require.ErrorAs(t, err, &e)
		require.ErrorIs(t, err, device.ErrOverlap)
		require.Equal(t, tensor, e.Tensor)
	}
	a, b := param("a", part(0)), param("b", part(1))
	o, err := optim.New(h.dev, sgd(1), []optim.Param{a, b})
	require.NoError(t, err)
	refused(o.SetZeroGrad(true), "b")
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{1, 2, 3}, h.values(shared), "as it was")
	require.Equal(t, []float64{-2, -3}, h.values(b.Value))

	own := h.buffer(device.Float32, []float64{5, 5})
	require.NoError(t, o.SetGrad("b", own))
	require.NoError(t, o.SetZeroGrad(true))
	refused(o.SetGrad("b", part(1)), "b")
	b.Grad = part(1)
	refused(o.Rebind([]optim.Param{b}), "b")
	refused(o.AddGroup(sgd(1), []optim.Param{param("c", part(1))}), "c")
	refused(o.AddGroup(sgd(1), []optim.Param{{Name: "c", Value: part(1)}}), "c")
	a.Grad = own // both at once
	refused(o.Rebind([]optim.Param{a, {Name: "b", Value: b.Value, Grad: own}}), "b")
	require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"b": own}), "no gradient is needed for that")
	h.set(own, []float64{5, 5})
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{0, 0, 3}, h.values(shared))
	require.Equal(t, []float64{-7, -8}, h.values(b.Value))

	require.NoError(t, o.SetZeroGrad(false))
	require.NoError(t, o.SetGrad("b", part(1)))
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{0, 0, 3}, h.values(shared), "only read")
}

// The average is what the formula says, of every algorithm and type, a user's rule that counts no steps included, and EvalParams gives it: before the first step the value.
func TestAveraged(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, c := range append(optim.Cases(), optim.Case{Name: "own", Algorithm: driftRule(t)}) {
			if s, err := c.Algorithm.Setting(); err != nil || s.Eval != nil {
				require.NoError(t, err)
				continue
			}
			for _, form := range []struct{ value, ema device.DType }{
				{device.Float32, device.Float32}, {device.Float64, device.Float64}, {device.BFloat16, device.Float32}, {device.Float16, device.BFloat16},
			} {
				const n, decay = 35, 0.75
				rng, h := rand.New(rand.NewPCG(3, 4)), onBackend(t, b)
				p := optim.Param{Name: "p", Value: h.buffer(form.value, random(rng, n)), Grad: h.buffer(form.value, random(rng, n))}
				alg := optim.Stored{Algorithm: optim.Averaged{Algorithm: c.Algorithm, Decay: decay}, State: map[string]device.DType{"ema": form.ema}}
				o, err := optim.New(b, alg, []optim.Param{p})
				require.NoError(t, err)
				ema, err := o.State("p", "ema")
				require.NoError(t, err)
				require.Equal(t, form.ema, ema.DType())
				eval := h.buffer(form.value, make([]float64, n))
				evaluated := func() []float64 {
					require.NoError(t, o.EvalParams(nil, map[string]*device.Buffer{"p": eval}))
					return h.values(eval)
				}
				require.Equal(t, h.values(p.Value), evaluated(), c.Name)
				want := h.values(ema)
				for step := range 3 {
					h.set(p.Grad, random(rng, n))
					require.NoError(t, o.Step(nil))
					value := h.values(p.Value)
					for i, x := range value {
						switch {
						case step == 0:
							want[i] = x
						case form.value == device.Float64:
							want[i] = float64(decay*want[i]) + float64((1-decay)*x)
						default:
							want[i] = float64(float32(decay*float32(want[i])) + float32((1-decay)*float32(x)))
						}
					}
					now := h.values(ema)
					if form.value == form.ema { // elsewhere the value is rounded after it was averaged
						require.Equal(t, want, now, "%s: step %d", c.Name, step)
					}
					want = now
					rounded := make([]float64, n)
					for i, x := range now {
						rounded[i] = form.value.Round(x)
					}
					if step == 0 && form.ema == device.Float32 {
						require.Equal(t, value, rounded, "%s: the first average is the value", c.Name)
					}
					require.Equal(t, rounded, evaluated(), "%s: step %d", c.Name, step)
				}
				require.NoError(t, o.Foreseen())
				require.NoError(t, o.Close())
			}
		}
	})
}

// Stored and Averaged may be around each other; an average is of the compute type unless it is named; ema_decay is a hyperparameter like
// others.
func TestAveragedAsOthers(t *testing.T) {
	adamw := optim.DefaultAdamW()
	for _, c := range []struct {
		alg optim.Algorithm
		ema device.DType
	}{
		{optim.Averaged{Algorithm: optim.Stored{Algorithm: adamw, All: device.BFloat16}, Decay: 0.9}, device.Float32},
		{optim.Stored{Algorithm: optim.Averaged{Algorithm: adamw, Decay: 0.9}, All: device.BFloat16}, device.Float32},
		{optim.Stored{Algorithm: optim.Averaged{Algorithm: adamw, Decay: 0.9}, All: device.BFloat16, State: map[string]device.DType{"ema": device.Float16}}, device.Float16},
	} {
		h := newHarness(t, device.BFloat16, []float64{1, 2})
		o := h.optimizer(c.alg)
		names, err := o.StateNames(0)
		require.NoError(t, err)
		require.Equal(t, []string{"exp_avg", "exp_avg_sq", "ema"}, names)
		require.Equal(t, c.ema, h.state(o, "ema").DType())
		require.Equal(t, device.BFloat16, h.state(o, "exp_avg").DType())
	}

	h := newHarness(t, device.Float64, []float64{0})
	o := h.optimizer(optim.Averaged{Algorithm: sgd(1), Decay: 0.5})
	h.set(h.grad, []float64{-1})
	require.NoError(t, o.SetHyperparameterSchedule("ema_decay", optim.ScheduleFunc(func(k int) float64 { return []float64{1, 1, 0.5}[k] })))
	for _, want := range []float64{1, 0.5*1 + 0.5*2, 0.25*1.5 + 0.75*3} {
		require.NoError(t, o.Step(nil))
		require.Equal(t, []float64{want}, h.values(h.state(o, "ema")))
	}
	require.NoError(t, o.SetHyperparameterSchedule("ema_decay", nil))
	require.NoError(t, o.SetHyperparameter("ema_decay", 1))
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{2.625}, h.values(h.state(o, "ema")))
	x, err := o.Hyperparameter(0, "ema_decay")
	require.NoError(t, err)
	require.Equal(t, 1., x)

	// It goes on after a resume.
	again := newHarness(t, device.Float64, h.values(h.value))
	again.set(again.grad, []float64{-1})
	resumed := again.optimizer(optim.Averaged{Algorithm: sgd(1), Decay: 0.5})
	counters, err := o.GroupCounters(nil, 0)
	require.NoError(t, err)
	require.NoError(t, resumed.SetSteps(o.Steps()))
	require.NoError(t, resumed.SetGroupCounters(nil, 0, counters))
	again.set(again.state(resumed, "ema"), h.values(h.state(o, "ema")))
	require.NoError(t, o.SetHyperparameter("ema_decay", 0.5))
	require.NoError(t, o.Step(nil))
	require.NoError(t, resumed.Step(nil))
	require.Equal(t, h.values(h.state(o, "ema")), again.values(again.state(resumed, "ema")))
}

func TestAveragedErrors(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{0})
	params := []optim.Param{{Name: "p", Value: h.value, Grad: h.grad}}
	for _, c := range []struct {
		alg  optim.Algorithm
		want string
	}{
		{optim.Averaged{Algorithm: sgd(1)}, "optim: averaged sgd: ema_decay is 0, must be above 0, at most 1"},
		{optim.Averaged{Algorithm: sgd(1), Decay: 1.5}, "optim: averaged sgd: ema_decay is 1.5, must be above 0, at most 1"},
		{optim.Averaged{Algorithm: sgd(1), Decay: math.NaN()}, "optim: averaged sgd: ema_decay is NaN, must be above 0, at most 1"},
		{optim.Averaged{Algorithm: sgd(1), Decay: 1e-46}, "optim: sgd: ema_decay is 1e-46, must be 0, or at least 2^-149, which is the least that float32 has"},
		{optim.Averaged{Algorithm: optim.DefaultScheduleFreeSGD(), Decay: 0.5}, "optim: averaged schedulefreesgd: ema_decay is 0.5, must be left out, as the algorithm has an average already"},
		{optim.Averaged{Algorithm: optim.Averaged{Algorithm: sgd(1), Decay: 0.5}, Decay: 0.5}, "optim: averaged sgd: ema_decay is 0.5, must be left out, as the algorithm has an average already"},
		{optim.Averaged{Decay: 0.5}, "optim: averaged: the algorithm is nil"},
	} {
		_, err := optim.New(h.dev, c.alg, params)
		require.EqualError(t, err, c.want)
	}
	var slot *format.SlotError
	_, err := optim.New(h.dev, optim.Averaged{Algorithm: optim.Stored{Algorithm: sgd(1), State: map[string]device.DType{"ema": device.BFloat16}}, Decay: 0.5}, params)
	require.ErrorAs(t, err, &slot)

	o, err := optim.New(h.dev, sgd(1), params)
	require.NoError(t, err)
	require.ErrorContains(t, o.SetAlgorithm(0, optim.Averaged{Algorithm: sgd(1), Decay: 0.5}), "this needs a new group")
	require.NoError(t, o.Step(nil))
	_, err = o.State("p", "ema")
	require.ErrorContains(t, err, `has no state "ema"`)
}

// Steps of tensors in one group have the bits of steps in any split into groups, whatever is on.
func TestAroundIsElementwise(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		const n, steps = 300, 4
		rng := rand.New(rand.NewPCG(5, 6))
		init := random(rng, n)
		var grads [][]float64
		for range 2 * steps {
			grads = append(grads, random(rng, n))
		}
		alg := optim.Averaged{Algorithm: optim.Regularized{Algorithm: optim.DefaultAdam(), L1: 0.01, WeightDecay: 0.1}, Decay: 0.9}
		train := func(cuts []int, groups bool) (out [3][]float64) {
			h := onBackend(t, b)
			var params []optim.Param
			for i, hi := range cuts[1:] {
				params = append(params, optim.Param{Name: fmt.Sprint(i), Value: h.buffer(device.BFloat16, init[cuts[i]:hi]), Grad: h.buffer(device.Float16, init[cuts[i]:hi])})
			}
			own := len(params)
			if groups {
				own = 1
			}
			o, err := optim.New(b, alg, params[:own])
			require.NoError(t, err)
			around(t, o, 0.5, true)
			require.NoError(t, o.SetAccumulate(true))
			for i := own; i < len(params); i++ { // which has all that is on
				require.NoError(t, o.AddGroup(alg, params[i:i+1]))
			}
			for k, g := range grads {
				for i, p := range params {
					h.set(p.Grad, g[cuts[i]:cuts[i+1]])
				}
				require.NoError(t, o.Accumulate(nil))
				if k%2 == 1 {
					require.NoError(t, o.Step(nil))
				}
			}
			for _, p := range params {
				ema, err := o.State(p.Name, "ema")
				require.NoError(t, err)
				for i, buffer := range []*device.Buffer{p.Value, ema, p.Grad} {
					out[i] = append(out[i], h.values(buffer)...)
				}
			}
			require.NoError(t, o.Close())
			return out
		}
		whole := train([]int{0, n}, false)
		require.Equal(t, make([]float64, n), whole[2])
		require.Equal(t, whole, train([]int{0, 1, 7, 150, 151, n}, false))
		require.Equal(t, whole, train([]int{0, 33, 200, n}, true))
	})
}

// Host memory follows: what a step or Accumulate sets to 0 on the device is 0 in the host's slices.
func TestPlacedAround(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		model, err := optim.Place(b, map[string][]float32{"a": {1, 2}, "b": {3}}, nil)
		require.NoError(t, err)
		defer model.Close()
		o, err := optim.New(b, sgd(1), model.Params("a"))
		require.NoError(t, err)
		defer o.Close()
		set := func(x float32) { model.Grad("a")[0], model.Grad("a")[1], model.Grad("b")[0] = x, -x, x }
		set(1)
		require.NoError(t, model.Step(o))
		require.Equal(t, []float32{1, -1}, model.Grad("a"))
		require.NoError(t, o.SetZeroGrad(true))
		require.NoError(t, model.Step(o))
		require.Equal(t, []float32{0, 0}, model.Grad("a"))
		require.Equal(t, []float32{1}, model.Grad("b"), "another optimizer's")
		require.NoError(t, o.SetAccumulate(true))
		for range 2 {
			set(0.5)
			require.NoError(t, model.Accumulate(o))
			require.Equal(t, []float32{0, 0}, model.Grad("a"))
		}
		set(100) // which no Accumulate has had
		require.NoError(t, model.Step(o))
		require.Equal(t, []float32{100, -100}, model.Grad("a"))
		values, err := o.State("a", "grad_accumulator")
		require.NoError(t, err)
		require.Equal(t, []float64{0, 0}, onBackend(t, b).values(values))
		out := make([]float32, 2)
		require.NoError(t, device.Download(model.Stream(), out, model.Params("a")[0].Value))
		require.NoError(t, model.Stream().Synchronize())
		require.Equal(t, []float32{1 - 1 - 1 - 1, 2 + 1 + 1 + 1}, out)
	})
}

// What is done around a step allocates nothing either, nor does Accumulate.
func TestAroundAllocatesNothing(t *testing.T) {
	h := newHarness(t, device.BFloat16, make([]float64, 1000))
	o := h.optimizer(optim.Averaged{Algorithm: optim.DefaultAdamW(), Decay: 0.9})
	require.NoError(t, o.SetClipNorm(1))
	require.NoError(t, o.SetClipTensorNorm(0.5))
	around(t, o, 0.5, true)
	require.NoError(t, o.SetAccumulate(true))
	step := func() {
		require.NoError(t, o.Accumulate(nil))
		require.NoError(t, o.Accumulate(nil))
		require.NoError(t, o.Step(nil))
		require.NoError(t, h.dev.DefaultStream().Synchronize())
	}
	for range 10 {
		step()
	}
	allocatesNothing(t, step)
}
