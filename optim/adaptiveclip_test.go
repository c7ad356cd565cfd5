package optim_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// What timm and optax make of gradients, within the roundings of their norms and ours.
func TestAdaptiveClipOfLibraries(t *testing.T) {
	var file struct {
		Shapes        [][]int
		Params, Grads map[string][][]float64
		Cases         []struct {
			Name, DType   string
			Clipping, Eps float64
			GradScale     float64 `json:"grad_scale"`
			Clipped       [][]float64
		}
	}
	text, err := os.ReadFile("testdata/libraries/agc.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &file))
	require.NotEmpty(t, file.Cases)
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, c := range file.Cases {
			dtype, err := device.ParseDType(c.DType)
			require.NoError(t, err)
			u := roundoff(dtype)
			h := onBackend(t, b)
			var params []optim.Param
			for i, shape := range file.Shapes {
				g := slices.Clone(file.Grads[c.DType][i])
				for k := range g {
					g[k] *= c.GradScale
				}
				params = append(params, optim.Param{Value: h.buffer(dtype, file.Params[c.DType][i]), Grad: h.buffer(dtype, g), Shape: shape})
			}
			o, err := optim.New(b, sgd(1), params)
			require.NoError(t, err)
			require.NoError(t, o.SetAdaptiveClip(c.Clipping, c.Eps))
			require.NoError(t, o.Step(nil))
			for i, want := range c.Clipped {
				before := file.Params[c.DType][i]
				for k, got := range h.values(params[i].Value) {
					const chain = 3*16 + 12 // each norm may err by 16 roundings, as torch's may, and ours by fewer
					bound := chain*u*math.Abs(want[k]) + 2*u*math.Abs(before[k])
					require.True(t, math.Abs(got-(before[k]-want[k])) <= bound, "%s, %s: tensor %d[%d] is %v, want %v-%v within %v", c.Name, dtype, i, k, got, before[k], want[k], bound)
				}
			}
			require.NoError(t, o.Close())
		}
	})
}

// clippedUnits is adaptive clipping of float32 by its definition: of the tree's sums, rounded once, as the type calculates; or, of a tensor that is one
// unit, as float64 does.
func clippedUnits(p, g []float64, rows int, clipping, eps float64) []float64 {
	out, n := slices.Clone(g), len(g)
	single := func(x []float64) (out []float32) {
		for _, x := range x {
			out = append(out, float32(x))
		}
		return out
	}
	if rows > 0 {
		n /= rows
	}
	for lo := 0; lo < len(g); lo += n {
		squares := func(x []float64) float64 { return kernels.FillTile(rule.FillSquares, single(x[lo:lo+n])) }
		round := func(x float64) float64 { return x }
		if rows > 0 {
			round = func(x float64) float64 { return float64(float32(x)) }
		}
		norm := round(math.Sqrt(round(squares(g))))
		most := round(max(round(math.Sqrt(round(squares(p)))), round(eps)) * round(clipping))
		factor := 1.0
		if !(norm < most) {
			factor = round(most / max(norm, round(1e-6)))
		}
		for i := range n {
			out[lo+i] = float64(float32(g[lo+i]) * float32(factor))
		}
	}
	return out
}

// A step of every algorithm that clips is, to the bit, a step on gradients that were clipped before; nearly, where it sums over tensors, as sums over
// rows have another order. With it off again, it is a step like any other.
func TestAdaptiveClipBeforeAlgorithms(t *testing.T) {
	b, h := onCPU(t)
	shapes := [][]int{{3, 4}, {12}, {2, 3, 5}, {1, 7}, {}, {0, 5}}
	units := []int{3, 0, 2, 1, 0, 0}
	const clipping, eps = 0.25, 1e-3
	for _, c := range optim.Cases() {
		if c.Name == "sophia" || c.Name == "sophia-g" {
			continue // has an input, which is 0 here
		}
		if kernels.Refused(setting(t, c.Algorithm).Rule) != 0 {
			continue
		}
		whole, before := h.matrices(shapes), h.matrices(shapes)
		one, err := optim.New(b, c.Algorithm, whole)
		require.NoError(t, err)
		other, err := optim.New(b, c.Algorithm, before)
		require.NoError(t, err)
		program, err := c.Program(device.Float32)
		require.NoError(t, err)
		if program.Rule.MatrixOption() != 0 {
			units = []int{3, 0, 6, 1, 0, 0} // its own rows
		} else {
			units = []int{3, 0, 2, 1, 0, 0}
		}
		for step := range 3 {
			on := step != 1
			if on {
				require.NoError(t, one.SetAdaptiveClip(clipping, eps))
			} else {
				require.NoError(t, one.SetAdaptiveClip(0, 1))
			}
			for i, p := range before {
				g := h.values(whole[i].Grad)
				for k := range g {
					g[k] = float64(float32(g[k]*0.75 + float64(k%3)/8))
				}
				h.set(whole[i].Grad, g)
				if on && len(g) > 0 {
					g = clippedUnits(h.values(p.Value), g, units[i], clipping, eps)
				}
				h.set(p.Grad, g)
			}
			stepping(t, one, 1)
			stepping(t, other, 1)
			for i := range whole {
				got, want := h.values(whole[i].Value), h.values(before[i].Value)
				if sums := program.Rule.Tensor != nil; !sums {
					require.Equal(t, wordsOf(want...), wordsOf(got...), "%s, %v, step %d", c.Name, shapes[i], step)
				} else {
					require.InDeltaSlice(t, want, got, 1e-5, "%s, %v, step %d", c.Name, shapes[i], step)
					h.set(whole[i].Value, want)
				}
			}
		}
		require.NoError(t, errors.Join(one.Close(), other.Close()))
	}
}

// With all that is around a step, masters and gradients of other types, the bits are the reference's, and a skipped step changes nothing.
func TestAdaptiveClipTogether(t *testing.T) {
	shapes := [][]int{{3, 4}, {12}, {130, 3}, {2, 5000}, {0, 5}, {1}}
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		made := func(b kernels.Backend, alg optim.Algorithm) (*optim.Optimizer, []optim.Param) {
			params := h.matrices(shapes)
			for i, p := range params {
				params[i].Value, params[i].Grad = h.buffer(device.BFloat16, h.values(p.Value)), h.buffer(device.Float16, h.values(p.Grad))
			}
			o, err := optim.New(b, alg, params[:4])
			require.NoError(t, err)
			s := optim.DefaultGradScaler()
			s.InitScale = 8
			require.NoError(t, errors.Join(o.SetAdaptiveClip(0.1, 1e-3), o.AddGroup(alg, params[4:]), o.SetGradScaler(nil, &s), o.SetClipNorm(300), o.SetClipTensorNorm(50), o.SetClipValue(0.5)))
			return o, params
		}
		for _, alg := range []optim.Algorithm{
			optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterFloat32},
			optim.Stored{Algorithm: optim.DefaultLion(), Stochastic: true, Seed: 5},
			optim.Regularized{Algorithm: optim.Averaged{Algorithm: optim.DefaultSGD(), Decay: 0.5}, WeightDecay: 0.1},
			optim.DefaultNovoGrad(),
		} {
			one, params := made(b, alg)
			other, same := made(byReference{b}, alg)
			for step := range 4 {
				for i := range params {
					g := h.values(params[i].Grad)
					for k := range g {
						g[k] = g[k]/2 + float64((k+step)%5)
					}
					if step == 2 && len(g) > 0 {
						g[0] = math.Inf(1)
					}
					h.set(params[i].Grad, g)
					h.set(same[i].Grad, g)
				}
				require.NoError(t, one.Step(nil))
				stepping(t, other, 1)
				for i := range params {
					require.Equal(t, wordsOf(h.numbers(same[i].Value)...), wordsOf(h.numbers(params[i].Value)...), "%T, tensor %d, step %d", alg, i, step)
				}
				if step == 2 { // to be finite again
					for i := range params {
						g := h.values(params[i].Grad)
						if len(g) > 0 {
							g[0] = 1
						}
						h.set(params[i].Grad, g)
					}
				}
			}
			alike(t, one, other)
			require.EqualValues(t, 1, dictOf(t, one).SkippedSteps)
			require.NoError(t, errors.Join(one.Close(), other.Close()))
		}
	})
}

// What a training clips by is in its dict, and what a tensor has once stays when it is turned on and off.
func TestAdaptiveClipIsLoaded(t *testing.T) {
	b, h := onCPU(t)
	shapes := [][]int{{3, 4}, {12}}
	made := func() *optim.Optimizer {
		o, err := optim.New(b, optim.DefaultNovoGrad(), h.matrices(shapes))
		require.NoError(t, err)
		return o
	}
	one := made()
	require.NoError(t, one.SetClipTensorNorm(2))
	stepping(t, one, 1)
	before := h.bitsIn(one, "0", "exp_avg_sq")
	require.NoError(t, one.SetAdaptiveClip(0.125, 0.5))
	require.Equal(t, before, h.bitsIn(one, "0", "exp_avg_sq"))
	stepping(t, one, 1)
	require.NotEqual(t, before, h.bitsIn(one, "0", "exp_avg_sq"))

	d := dictOf(t, one)
	require.Equal(t, &optim.AdaptiveClip{Clipping: 0.125, Eps: 0.5}, d.Around.AdaptiveClip)
	text, err := json.Marshal(d.Around)
	require.NoError(t, err)
	require.Contains(t, string(text), `"adaptive_clip":{"clipping":0.125,"eps":0.5}`)
	var around optim.AroundState
	require.NoError(t, json.Unmarshal(text, &around))
	require.Equal(t, *d.Around, around)
	other := made()
	require.NoError(t, other.LoadStateDict(nil, d, optim.LoadOptions{}))
	for range 2 {
		stepping(t, one, 2)
		stepping(t, other, 2)
		alike(t, one, other)
		require.NoError(t, errors.Join(one.SetAdaptiveClip(0, 0), other.SetAdaptiveClip(0, 0)))
	}
	require.Nil(t, dictOf(t, one).Around.AdaptiveClip)

	d.Around.AdaptiveClip.Clipping = -1
	require.ErrorContains(t, other.LoadStateDict(nil, d, optim.LoadOptions{}), "adaptive_grad_clip: clipping is -1, must be at least 0, and finite")
	require.NoError(t, errors.Join(one.Close(), other.Close()))
}

func TestAdaptiveClipErrors(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{3, 4})
	h.set(h.grad, []float64{3, 4})
	o := h.optimizer(sgd(1))
	require.NoError(t, o.SetAdaptiveClip(0.5, 1e-3))
	for _, x := range [][2]float64{{-1, 0}, {math.NaN(), 0}, {1, -1}, {1, math.Inf(1)}, {1e300, 0}, {1, 1e-300}} {
		var e *optim.HyperparameterError
		require.ErrorAs(t, o.SetAdaptiveClip(x[0], x[1]), &e)
		require.Equal(t, "adaptive_grad_clip", e.Algorithm)
	}
	require.NoError(t, o.Step(nil))
	require.InDeltaSlice(t, []float64{1.5, 2}, h.values(h.value), 1e-6, "as it was")
	require.NoError(t, o.Close())
	require.ErrorIs(t, o.SetAdaptiveClip(1, 0), device.ErrClosed)
}

// A scalar that is infinite and harmless stays so: Sophia's without a clip.
func TestAdaptiveClipOfHarmlessScalars(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{3, 4})
	h.shape = []int{2, 1}
	for _, c := range optim.Cases() {
		o := h.optimizer(c.Algorithm)
		if kernels.Refused(setting(t, c.Algorithm).Rule) != 0 {
			require.ErrorIs(t, o.SetAdaptiveClip(1, 0), device.ErrUnsupported)
			require.ErrorIs(t, o.SetClipTensorNorm(1), device.ErrUnsupported)
		} else {
			require.NoError(t, o.SetAdaptiveClip(1, 0), c.Name)
		}
		require.NoError(t, o.Step(nil), c.Name)
		require.NoError(t, o.Close())
	}
}

func TestAdaptiveClipAllocatesNothing(t *testing.T) {
	for _, name := range cpu.Implementations() {
		t.Run(name, func(t *testing.T) {
			t.Setenv(cpu.Environment, name)
			h := newHarness(t, device.BFloat16, make([]float64, 1000))
			h.shape = []int{10, 100}
			o := h.optimizer(optim.DefaultAdamW())
			require.NoError(t, o.SetAdaptiveClip(0.01, 1e-3))
			step := func() {
				require.NoError(t, o.Step(nil))
				require.NoError(t, h.dev.DefaultStream().Synchronize())
			}
			for range 10 {
				step()
			}
			allocatesNothing(t, step)
			require.NoError(t, o.Close())
		})
	}
}
