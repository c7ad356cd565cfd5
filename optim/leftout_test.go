package optim_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// A tensor that is left out of steps gets the bits of an optimizer of its own that steps only where it has a gradient: values,
// state and counts, on everything that runs a step.
func TestLeftOut(t *testing.T) {
	const tensors, steps = 5, 12
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		adamw, sgd, asgd := optim.DefaultAdamW(), optim.DefaultSGD(), optim.DefaultASGD()
		sgd.Momentum, sgd.Dampening = 0.9, 0.5 // a first step is another
		asgd.T0 = 2
		for _, alg := range []optim.Algorithm{adamw, sgd, asgd, optim.DefaultScheduleFreeAdamW(), optim.DefaultRprop()} {
			for _, dtype := range []device.DType{device.Float32, device.Float64} {
				rng := rand.New(rand.NewPCG(7, 8))
				h := onBackend(t, b)
				var together []optim.Param
				var alone []*optim.Optimizer
				var own []optim.Param
				for i := range tensors {
					init := random(rng, 3+i)
					together = append(together, optim.Param{Name: fmt.Sprint("t", i), Value: h.buffer(dtype, init), Grad: h.buffer(dtype, init)})
					own = append(own, optim.Param{Name: fmt.Sprint("t", i), Value: h.buffer(dtype, init), Grad: together[i].Grad})
					o, err := optim.New(b, alg, own[i:])
					require.NoError(t, err)
					alone = append(alone, o)
				}
				first := together[1]
				first.Grad = nil // one is left out from the start
				o, err := optim.New(b, alg, append([]optim.Param{together[0], first}, together[2:]...))
				require.NoError(t, err)
				for step := range steps {
					for i := range tensors {
						grad := together[i].Grad
						h.set(grad, random(rng, grad.Len()))
						if step > 0 && rng.IntN(2) == 0 || step == 0 && i == 1 || step == 5 {
							grad = nil
						}
						require.NoError(t, o.SetGrad(together[i].Name, grad))
						if grad != nil {
							require.NoError(t, alone[i].Step(nil))
						}
					}
					require.NoError(t, o.Step(nil))
				}
				require.Equal(t, steps, o.Steps(), "a step of no tensor is one")
				for i, p := range together {
					require.Equal(t, h.values(own[i].Value), h.values(p.Value), "%T %s: tensor %d", alg, dtype, i)
					states, err := alone[i].States(p.Name)
					require.NoError(t, err)
					for name, want := range states {
						got, err := o.State(p.Name, name)
						require.NoError(t, err)
						require.Equal(t, h.values(want), h.values(got), "%T %s: tensor %d: %s", alg, dtype, i, name)
					}
					got, err := o.TensorCounters(nil, p.Name)
					require.NoError(t, err)
					want, err := alone[i].GroupCounters(nil, 0)
					require.NoError(t, err)
					require.Equal(t, want, got)
					require.Equal(t, float64(alone[i].Steps()), got["step"])
					require.NoError(t, alone[i].Close())
				}
				require.NoError(t, o.Close())
			}
		}
	})
}

func random(rng *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = float64(float32(rng.NormFloat64()))
	}
	return x
}

// What is left out does not count in the norm, and is not set to zero.
func TestLeftOutNorm(t *testing.T) {
	h := newHarness(t, device.Float64, []float64{0})
	h.set(h.grad, []float64{3})
	v, g := h.buffer(device.Float64, []float64{7}), h.buffer(device.Float64, []float64{4})
	o, err := optim.New(h.dev, optim.DefaultSGD(), []optim.Param{{Name: "a", Value: h.value, Grad: h.grad}, {Name: "b", Value: v, Grad: g}})
	require.NoError(t, err)
	require.NoError(t, o.SetClipNorm(math.Inf(1)))
	norm := func(want float64) {
		t.Helper()
		require.NoError(t, o.Step(nil))
		got, err := o.GradNorm(nil)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	norm(5)
	require.NoError(t, o.SetGrad("b", nil))
	norm(3)
	require.NoError(t, o.ZeroGrad(nil))
	require.Equal(t, []float64{4}, h.values(g))
	norm(0)
	require.NoError(t, o.SetGrad("a", nil))
	norm(0)
	require.NoError(t, o.SetGrad("b", g))
	norm(4)

	_, err = o.GroupCounters(nil, 0)
	require.EqualError(t, err, `optim: group 0: counters: tensors "a" and "b" have taken different steps: ask for TensorCounters`)
	require.EqualError(t, o.SetGrad("c", g), `optim: set grad: there is no tensor "c"`)
	require.EqualError(t, o.SetGrad("b", h.buffer(device.Float64, []float64{1, 2})), `optim: group 0, tensor "b": grad has 2 elements, value has 1`)
	require.ErrorIs(t, o.SetGrad("b", h.value), device.ErrOverlap)
	norm(4)
	require.NoError(t, o.SetGroupCounters(nil, 0, map[string]float64{"step": 3}))
	counters, err := o.GroupCounters(nil, 0)
	require.NoError(t, err)
	require.Equal(t, 3.0, counters["step"])
}

// Steps without a change of what is left out allocate nothing.
func TestLeftOutAllocatesNothing(t *testing.T) {
	h := newHarness(t, device.Float32, make([]float64, 100))
	o, err := optim.New(h.dev, optim.DefaultAdamW(), []optim.Param{
		{Name: "a", Value: h.value, Grad: h.grad}, {Name: "b", Value: h.buffer(device.Float32, make([]float64, 100)), Grad: h.grad}})
	require.NoError(t, err)
	step := func() {
		require.NoError(t, o.SetGrad("a", h.grad))
		require.NoError(t, o.Step(nil))
		require.NoError(t, h.dev.DefaultStream().Synchronize())
	}
	require.NoError(t, o.SetGrad("b", nil))
	step()
	require.NoError(t, o.SetGrad("b", h.grad)) // two histories from now on
	for range 10 {
		step()
	}
	allocatesNothing(t, step)
}
