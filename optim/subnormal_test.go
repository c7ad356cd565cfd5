package optim_test

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// trained is one tensor under an algorithm.
type trained[F rule.Float] struct {
	t           *testing.T
	s           *device.Stream
	value, grad *device.Buffer
	opt         *optim.Optimizer
}

func train[F rule.Float](t *testing.T, b kernels.Backend, alg optim.Algorithm, dtype device.DType, p []F) *trained[F] {
	r := &trained[F]{t: t, s: b.Device().DefaultStream()}
	var err error
	r.value, err = b.Device().Alloc(dtype, len(p))
	require.NoError(t, err)
	r.grad, err = b.Device().Alloc(dtype, len(p))
	require.NoError(t, err)
	r.set(r.value, p)
	r.set(r.grad, make([]F, len(p)))
	r.opt, err = optim.New(b, alg, []optim.Param{{Name: "w", Value: r.value, Grad: r.grad}})
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, close := range []func() error{r.opt.Close, r.value.Close, r.grad.Close} {
			_ = close() // after the device, on some executors
		}
	})
	return r
}

func (r *trained[F]) set(b *device.Buffer, x []F) {
	require.NoError(r.t, device.Upload(r.s, b, x))
	require.NoError(r.t, r.s.Synchronize())
}

func (r *trained[F]) get(b *device.Buffer) []F {
	x := make([]F, b.Len())
	require.NoError(r.t, device.Download(r.s, x, b))
	require.NoError(r.t, r.s.Synchronize())
	return x
}

func (r *trained[F]) step() { require.NoError(r.t, r.opt.Step(r.s)) }

// squares are the states that divide, or whose root does.
var squares = []string{"exp_avg_sq", "max_exp_avg_sq", "exp_avg_var", "exp_inf", "square_avg", "sum", "accumulator"}

// N3: a step on tiny gradients, whose squares are subnormal in float32, is that of the same rule in float64, whatever eps.
func TestSecondMomentsDivideWhatThereIs(t *testing.T) {
	grads := []float64{1e-18, 2e-18, -1.5e-18, 1e-18, 3e-18, 2e-18, 1e-18, 1.5e-18} // RAdam divides from the sixth step on
	for _, c := range optim.Cases() {
		v := reflect.New(reflect.TypeOf(c.Algorithm)).Elem()
		v.Set(reflect.ValueOf(c.Algorithm))
		state, eps := setting(t, c.Algorithm).Rule.Slots, v.FieldByName("Eps")
		if !slices.ContainsFunc(state, func(s string) bool { return slices.Contains(squares, s) }) || v.Type().Name() == "Adadelta" || v.Type().Name() == "CAME" || v.Type().Name() == "Prodigy" {
			continue // nothing divides; Adadelta's eps is its first step, whatever it divides; CAME's is in each square; Prodigy's squares have a d0² in them
		}
		if f := v.FieldByName("InitialAccumulator"); f.IsValid() && v.Type().Name() != "ProximalAdagrad" {
			f.SetFloat(0)
		}
		all := []float64{0, 1e-30, 1e-20}
		if !eps.IsValid() {
			all = all[:1]
		}
		t.Run(c.Name, func(t *testing.T) {
			onExecutors(t, func(t *testing.T, b kernels.Backend) {
				for i := range 2 * len(all) {
					e, scale := all[i/2], []float64{1, 0.05}[i%2]
					if eps.IsValid() {
						eps.SetFloat(e)
					}
					alg := v.Interface().(optim.Algorithm)
					single, double := train(t, b, alg, device.Float32, []float32{1}), train(t, b, alg, device.Float64, []float64{1})
					path := 0.0
					before := 1.0
					for k, g := range grads {
						single.set(single.grad, []float32{float32(scale * g)})
						double.set(double.grad, []float64{scale * g})
						single.step()
						double.step()
						got, want := float64(single.get(single.value)[0]), double.get(double.value)[0]
						least := math.Inf(1)
						for _, name := range squares {
							if b, err := double.opt.State("w", name); err == nil {
								least = min(least, double.get(b)[0])
							}
						}
						// Each step rounds a square, its product and the sum to within 2⁻¹⁵⁰; the root has half of that, relatively. Centred
						// moments and averages of gradients of both signs cancel to no less than a quarter here. The other 20 operations round
						// to 2⁻²⁴ of the step, and the parameter is rounded each time.
						path += math.Abs(want - before)
						before = want
						relative := 4 * (float64(3*(k+1))*0x1p-150/least/2 + 20*0x1p-24)
						bound := path*relative + float64(k+1)*2*0x1p-24*math.Max(1, math.Abs(want))
						require.InDelta(t, want, got, bound, "%+v: step %d", alg, k)
						require.False(t, math.IsInf(want, 0) || math.IsNaN(want), "%+v", alg)
					}
				}
			})
		})
	}
}

// N3's numbers.
func TestAdamOnATinyGradient(t *testing.T) {
	for eps, want := range map[float64]float64{0: 0.999, 1e-30: 0.999, 1e-20: 0.99901} {
		onExecutors(t, func(t *testing.T, b kernels.Backend) {
			r := train(t, b, with(optim.DefaultAdam(), func(c *optim.Adam) { c.Eps = eps }), device.Float32, []float32{1})
			r.set(r.grad, []float32{1e-18})
			r.step()
			require.InDelta(t, want, float64(r.get(r.value)[0]), 2e-7, "eps %v", eps)
		})
	}
}

func setting(t *testing.T, a optim.Algorithm) rule.Setting {
	s, err := a.Setting()
	require.NoError(t, err)
	return s
}

// N6: where the gradient stays 0, no state and no parameter stays subnormal, of any algorithm on any executor.
func TestNothingStaysSubnormal(t *testing.T) {
	for _, c := range optim.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			onExecutors(t, func(t *testing.T, b kernels.Backend) {
				nothingStaysSubnormal[float32](t, b, c, device.Float32)
				nothingStaysSubnormal[float64](t, b, c, device.Float64)
			})
		})
	}
}

func nothingStaysSubnormal[F rule.Float](t *testing.T, b kernels.Backend, c optim.Case, dtype device.DType) {
	tiny := rule.SmallestNormal[F]()
	some := []F{tiny, tiny * F(1+0x1p-20), tiny / 2, tiny * F(0.75), tiny * F(0x1p-20), 0}
	var p []F
	for _, x := range some {
		for range some {
			p = append(p, x, -x)
		}
	}
	r := train(t, b, c.Algorithm, dtype, p)
	var left []*device.Buffer
	states, err := r.opt.States("w")
	require.NoError(t, err)
	for name, state := range states {
		if name == "hessian" || name == "accumulator" {
			continue // an input; what only grows and divides a sum that stays (testdata/torch/README.md)
		}
		if state.Len() != len(p) {
			continue // one number of a tensor slows nothing
		}
		x := make([]F, len(p))
		for i := range x {
			x[i] = some[(i/2+len(left)*i/12)%len(some)] // against each of the parameter's, and otherwise for each state
			if !slices.Contains(squares, name) && name != "acc_delta" && i%4 > 1 {
				x[i] = -x[i]
			}
		}
		r.set(state, x)
		left = append(left, state)
	}
	// Each of the moments loses at least 1e-4 of itself in a step, and none is above (1 + 2⁻²⁰)·tiny. A parameter and its average
	// approach each other at such a rate, too.
	for range 20 {
		r.step()
	}
	for k, buffer := range append(left, r.value) {
		for i, x := range r.get(buffer) {
			if x != 0 && rule.Abs(x) < tiny || x != x {
				t.Fatalf("%s %s: slot %d: element %d is %v", c.Name, dtype, k, i, x)
			}
		}
	}
}

// N6's number: weight decay takes a parameter to 0, and not to a subnormal number from which it would take nothing.
func TestDecayEndsAtZero(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		r := train(t, b, with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.WeightDecay = 0.1, 0.5 }), device.Float32, []float32{1, 1e-40})
		r.step()
		require.Equal(t, []float32{0.95, 0}, r.get(r.value))
		for range 1900 { // 0.95^1703 is below 2⁻¹²⁶
			r.step()
		}
		require.Equal(t, []float32{0, 0}, r.get(r.value))
	})
}
