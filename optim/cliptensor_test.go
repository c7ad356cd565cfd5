package optim_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// Each tensor is clipped by its own norm, behind unscaling and the global norm, and before its numbers are clipped. The global norm is that of
// the gradients as they are. What is not finite spoils its own tensor alone, and squares that float64 does not have spoil none.
func TestClipTensorNorm(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	single, double, all := []device.DType{device.Float32}, []device.DType{device.Float64},
		[]device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16}
	for _, c := range []struct {
		name                string
		dtypes              []device.DType
		norm, tensor, value float64
		maximize            bool
		grads, want         [][]float64 // of each tensor; of lr 1, from 0
		global              float64
	}{
		{name: "one of three", dtypes: all, tensor: 1, grads: [][]float64{{3, 4}, {0.5, 0}, {}, {0, 0}}, want: [][]float64{{-0.6, -0.8}, {-0.5, 0}, {}, {0, 0}}, global: math.Hypot(5, 0.5)},
		{name: "none", dtypes: all, tensor: inf, grads: [][]float64{{3, 4}, {0.5}}, want: [][]float64{{-3, -4}, {-0.5}}, global: math.Hypot(5, 0.5)},
		{name: "at the limit", dtypes: all, tensor: 5.5, grads: [][]float64{{3, 4}, {8, 0}}, want: [][]float64{{-3, -4}, {-5.5, 0}}, global: math.Hypot(5, 8)},
		{name: "maximized", dtypes: all, tensor: 1, maximize: true, grads: [][]float64{{3, 4}, {0.5}}, want: [][]float64{{0.6, 0.8}, {0.5}}, global: math.Hypot(5, 0.5)},
		// The global norm of 13 brings norms of 5 and 12 to 2.5 and 6, of which the second is above 3.
		{name: "behind the global norm", dtypes: all, norm: 6.5, tensor: 3, grads: [][]float64{{3, 4}, {0, 12}}, want: [][]float64{{-1.5, -2}, {0, -3}}, global: 13},
		{name: "before values", dtypes: all, norm: 6.5, tensor: 3, value: 1.75, grads: [][]float64{{3, 4}, {0, 12}}, want: [][]float64{{-1.5, -1.75}, {0, -1.75}}, global: 13},
		{name: "a NaN in its tensor", dtypes: all, tensor: 1, grads: [][]float64{{nan, 4}, {0, 3}}, want: [][]float64{{nan, nan}, {0, -1}}, global: nan},
		{name: "an infinity in its tensor", dtypes: all, tensor: 1, grads: [][]float64{{inf, 4}, {0, 3}}, want: [][]float64{{nan, 0}, {0, -1}}, global: inf},
		{name: "beyond squares", dtypes: double, tensor: 1, grads: [][]float64{{3e200, 4e200}, {0, 3}, {1e-200}}, want: [][]float64{{-0.6, -0.8}, {0, -1}, {-1e-200}}, global: 5e200},
		{name: "beyond squares and a NaN", dtypes: double, tensor: 1, grads: [][]float64{{nan}, {3e200, -4e200}, {0, 3}}, want: [][]float64{{nan}, {-0.6, 0.8}, {0, -1}}, global: nan},
		{name: "beyond squares and an infinity", dtypes: double, tensor: 1, grads: [][]float64{{3e200, -4e200}, {inf}}, want: [][]float64{{-0.6, 0.8}, {nan}}, global: inf},
		{name: "below squares", dtypes: double, tensor: 1, grads: [][]float64{{1e-180, 1e-170}, {1e-170}}, want: [][]float64{{-1e-180, -1e-170}, {-1e-170}}, global: 1e-170 * math.Sqrt2},
		{name: "the greatest", dtypes: double, tensor: 1, grads: [][]float64{{math.MaxFloat64, 0}, {math.MaxFloat64, math.MaxFloat64}}, want: [][]float64{{-1, 0}, {-1, -1}}, global: math.MaxFloat64},
		{name: "the least of float32", dtypes: single, tensor: 1e-45, grads: [][]float64{{0x1p-100}, {1}}, want: [][]float64{{0}, {0}}, global: 1},
	} {
		onExecutors(t, func(t *testing.T, b kernels.Backend) {
			for _, dtype := range c.dtypes {
				bound := map[int]float64{2: 0x1p-8, 4: 3e-6, 8: 3e-6}[dtype.Size()] // of roundings, and of 1e-6 beside norms
				h := onBackend(t, b)
				var params []optim.Param
				for i, g := range c.grads {
					params = append(params, optim.Param{Name: fmt.Sprint("p", i), Value: h.buffer(dtype, make([]float64, len(g))), Grad: h.buffer(dtype, g)})
				}
				alg := sgd(1)
				alg.Maximize = c.maximize
				o, err := optim.New(b, alg, params[:1])
				require.NoError(t, err)
				require.NoError(t, o.SetClipTensorNorm(c.tensor))
				require.NoError(t, o.AddGroup(alg, params[1:]), "which is clipped likewise")
				require.NoError(t, errors.Join(o.SetClipNorm(c.norm), o.SetClipValue(c.value)))
				require.NoError(t, o.Step(nil))
				for i, p := range params {
					for k, got := range h.values(p.Value) {
						want := c.want[i][k]
						require.True(t, math.Abs(got-want) <= bound*math.Abs(want) || math.IsNaN(want) && math.IsNaN(got), "%s, %s: %s[%d] is %v, want %v", c.name, dtype, p.Name, k, got, want)
					}
					require.Equal(t, wordsOf(c.grads[i]...), wordsOf(h.values(p.Grad)...), "as they were")
				}
				norm, err := o.GradNorm(nil)
				require.NoError(t, err)
				require.True(t, math.Abs(norm-c.global) <= 1e-12*c.global || norm == c.global || math.IsNaN(norm) && math.IsNaN(c.global), "%s, %s: norm is %v, want %v", c.name, dtype, norm, c.global)
				require.NoError(t, errors.Join(o.SetClipTensorNorm(0), o.SetClipNorm(0), o.SetClipValue(0)))
				for i, p := range params {
					h.set(p.Value, make([]float64, len(c.grads[i])))
					h.set(p.Grad, make([]float64, len(c.grads[i])))
				}
				h.set(params[0].Grad, []float64{7, 8}[:len(c.grads[0])])
				require.NoError(t, o.Step(nil))
				sign := -1.0
				if c.maximize {
					sign = 1
				}
				require.Equal(t, 7*sign, h.values(params[0].Value)[0], "it is off again")
				_, err = o.GradNorm(nil)
				require.Error(t, err, "and nothing is measured")
				require.NoError(t, o.Close())
			}
		})
	}
}

// It works with all that is around a step: what a loss scale leaves is clipped, sums are, what was measured before is, and a tensor that is
// left out, rebound or of another group changes nothing for the others.
func TestClipTensorNormTogether(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		param := func(name string, grad ...float64) optim.Param {
			return optim.Param{Name: name, Value: h.buffer(device.Float32, make([]float64, len(grad))), Grad: h.buffer(device.Float32, grad)}
		}
		x, y, z := param("x", 24, 32), param("y", 0, 4), param("z", 80)
		o, err := optim.New(b, sgd(1), []optim.Param{x, y})
		require.NoError(t, err)
		require.NoError(t, o.AddGroup(with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.WeightDecay = 1, 0.5 }), []optim.Param{z}))
		s := optim.DefaultGradScaler()
		s.InitScale = 8
		require.NoError(t, o.SetGradScaler(nil, &s))
		require.NoError(t, o.SetClipTensorNorm(2))
		clear := func() {
			for _, p := range []optim.Param{x, y, z} {
				h.set(p.Value, make([]float64, p.Value.Len()))
			}
		}
		check := func(want ...float64) {
			t.Helper()
			got := append(append(h.values(x.Value), h.values(y.Value)...), h.values(z.Value)...)
			require.InDeltaSlice(t, want, got, 1e-5)
			clear()
		}
		require.NoError(t, o.Step(nil))
		check(-1.2, -1.6, 0, -0.5, -2)
		require.NoError(t, o.SetGrad("z", nil))
		require.NoError(t, o.MeasureGradNorm(nil))
		require.NoError(t, o.SetClipTensorNorm(1))
		require.NoError(t, o.Step(nil))
		check(-0.6, -0.8, 0, -0.5, 0)
		require.NoError(t, o.SetGrad("z", z.Grad))
		x.Grad = h.buffer(device.BFloat16, []float64{0, 16})
		require.NoError(t, o.Rebind([]optim.Param{x}))
		require.NoError(t, o.Step(nil))
		check(0, -1, 0, -0.5, -1)
		h.set(y.Grad, []float64{0, math.Inf(1)})
		require.NoError(t, o.Step(nil))
		check(0, 0, 0, 0, 0)
		h.set(y.Grad, []float64{0, 8})
		require.NoError(t, o.Step(nil)) // the scale is 4
		check(0, -1, 0, -1, -1)
		require.NoError(t, errors.Join(o.SetGradScaler(nil, nil), o.SetAccumulate(true), o.SetZeroGrad(true)))
		h.set(y.Grad, []float64{0.125, 0})
		h.set(x.Grad, []float64{1, 0})
		require.NoError(t, o.Accumulate(nil))
		h.set(y.Grad, []float64{0.125, 0})
		h.set(x.Grad, []float64{2, 4})
		require.NoError(t, o.Accumulate(nil))
		require.NoError(t, o.Step(nil))
		check(-0.6, -0.8, -0.25, 0, -1)
		require.Equal(t, []float64{0, 0}, h.values(x.Grad))
		require.NoError(t, o.SetAccumulate(false))
		h.set(z.Grad, []float64{2})
		h.set(x.Grad, []float64{0.5, 0})
		h.set(y.Grad, []float64{0, 0.25})
		require.NoError(t, o.MeasureGradNorm(nil))
		require.NoError(t, o.SetClipTensorNorm(0))
		require.NoError(t, o.SetSkip(nil, optim.Skip{NonFinite: true}))
		require.NoError(t, o.MeasureGradNorm(nil))
		require.NoError(t, o.SetClipTensorNorm(0.125)) // what was measured has no norms of tensors
		require.NoError(t, o.Step(nil))
		check(-0.125, 0, 0, -0.125, -0.125)
		require.NoError(t, o.Close())
	})
}

// Thousands of tensors of many tiles and of none: the bits are those of each tensor alone.
func TestClipManyTensors(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		rng := rand.New(rand.NewPCG(8, 9))
		lengths := []int{kernels.NormTile - 1, kernels.NormTile, 0, 3*kernels.NormTile + 5}
		tensors := 700
		if testing.Short() {
			tensors = 300
		}
		for len(lengths) < tensors {
			lengths = append(lengths, rng.IntN(9))
		}
		h := onBackend(t, b)
		train := func(optimizers func(params []optim.Param) []*optim.Optimizer) (out [][]float64) {
			rng := rand.New(rand.NewPCG(10, 11))
			var params []optim.Param
			for i, n := range lengths {
				params = append(params, optim.Param{Name: fmt.Sprint(i), Value: h.buffer(device.Float32, random(rng, n)), Grad: h.buffer(device.BFloat16, random(rng, n))})
			}
			for _, o := range optimizers(params) {
				require.NoError(t, o.SetClipTensorNorm(1.5))
				require.NoError(t, o.Step(nil))
				require.NoError(t, o.Step(nil))
				require.NoError(t, o.Close())
			}
			for _, p := range params {
				out = append(out, h.values(p.Value))
			}
			return out
		}
		adamW := func(params []optim.Param) *optim.Optimizer {
			o, err := optim.New(b, optim.DefaultAdamW(), params)
			require.NoError(t, err)
			return o
		}
		together := train(func(params []optim.Param) []*optim.Optimizer {
			return []*optim.Optimizer{adamW(params)}
		})
		alone := train(func(params []optim.Param) (out []*optim.Optimizer) {
			for i := range params {
				if i < 10 || i%97 == 0 {
					out = append(out, adamW(params[i:i+1]))
				}
			}
			return out
		})
		for i := range lengths {
			if i < 10 || i%97 == 0 {
				require.Equal(t, alone[i], together[i], "tensor %d of %d elements", i, lengths[i])
			}
		}
	})
}

func TestClipTensorNormErrors(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{0})
	h.set(h.grad, []float64{3})
	o := h.optimizer(sgd(1))
	require.NoError(t, o.SetClipTensorNorm(0.5))
	for _, x := range []float64{-1, math.NaN(), math.Inf(-1)} {
		var e *optim.HyperparameterError
		require.ErrorAs(t, o.SetClipTensorNorm(x), &e)
		require.Equal(t, []string{"clip_tensor_norm", "max_norm", "at least 0"}, []string{e.Algorithm, e.Name, e.Want})
	}
	require.NoError(t, o.Step(nil))
	require.InDelta(t, -0.5, h.values(h.value)[0], 1e-6, "as it was")
	norm, err := o.GradNorm(nil)
	require.NoError(t, err)
	require.Equal(t, 3.0, norm)
	require.NoError(t, o.Close())
	require.ErrorIs(t, o.SetClipTensorNorm(1), device.ErrClosed)
}
