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

// sum is a + b, rounded once to what steps of a type calculate with.
func sum(t device.DType, a, b float64) float64 { return format.Compute(t).Round(a + b) }

// Steps with gradients that were accumulated are steps with their sums, whatever else is on and whichever tensors are left out of some
// micro-batches or of all. No sum is flushed.
func TestAccumulate(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, types := range [][2]device.DType{{device.Float32, device.Float32}, {device.Float64, device.Float64},
			{device.BFloat16, device.BFloat16}, {device.Float32, device.Float16}} {
			for _, zero := range []bool{false, true} {
				const steps = 5
				rng, h := rand.New(rand.NewPCG(7, 8)), onBackend(t, b)
				compute := format.Compute(types[0])
				var ours, theirs []optim.Param
				for i, n := range []int{33, 4, 100} {
					init := random(rng, n)
					ours = append(ours, optim.Param{Name: fmt.Sprint(i), Value: h.buffer(types[0], init), Grad: h.buffer(types[1], init)})
					theirs = append(theirs, optim.Param{Name: fmt.Sprint(i), Value: h.buffer(types[0], init), Grad: h.buffer(compute, make([]float64, n))})
				}
				o, err := optim.New(b, optim.DefaultAdamW(), ours)
				require.NoError(t, err)
				require.NoError(t, o.SetAccumulate(true))
				require.NoError(t, o.SetZeroGrad(zero))
				whole, err := optim.New(b, optim.DefaultAdamW(), theirs)
				require.NoError(t, err)
				for _, o := range []*optim.Optimizer{o, whole} {
					require.NoError(t, o.SetClipNorm(3))
					require.NoError(t, o.SetClipValue(0.5))
				}
				sums := func(i int) []float64 {
					s, err := o.State(ours[i].Name, "grad_accumulator")
					require.NoError(t, err)
					require.Equal(t, compute, s.DType())
					return h.values(s)
				}
				for step := range steps {
					want, takes := make([][]float64, len(ours)), make([]bool, len(ours))
					for i := range ours {
						want[i] = make([]float64, ours[i].Value.Len())
					}
					for micro := range 3 {
						for i, p := range ours {
							g := random(rng, p.Grad.Len())
							for k := range g {
								g[k] = types[1].Round(g[k])
							}
							g[0], g[1] = math.Copysign(0, -1), types[1].Round(0x1p-130) // which nothing is lost of
							h.set(p.Grad, g)
							grad := p.Grad
							if i == 1 && (step == 2 || (micro+step)%3 == 0) {
								grad = nil // of all in step 2
							}
							require.NoError(t, o.SetGrad(p.Name, grad))
							if grad == nil {
								continue
							}
							takes[i] = true
							for k, x := range h.values(p.Grad) {
								want[i][k] = sum(types[0], want[i][k], x)
							}
						}
						require.NoError(t, o.Accumulate(nil))
						for i, p := range ours {
							requireSame(t, want[i], sums(i))
							if zero && takes[i] && p.Grad != nil && !(i == 1 && (step == 2 || (micro+step)%3 == 0)) {
								requireSame(t, make([]float64, p.Grad.Len()), h.values(p.Grad))
							}
						}
					}
					for i, p := range theirs {
						h.set(p.Grad, want[i])
						grad := p.Grad
						if !takes[i] {
							grad = nil
						}
						require.NoError(t, whole.SetGrad(p.Name, grad))
					}
					require.NoError(t, o.Step(nil))
					require.NoError(t, whole.Step(nil))
					norm, err := o.GradNorm(nil)
					require.NoError(t, err)
					wantNorm, err := whole.GradNorm(nil)
					require.NoError(t, err)
					require.Equal(t, wantNorm, norm)
					for i := range ours {
						requireSame(t, h.values(theirs[i].Value), h.values(ours[i].Value))
						requireSame(t, make([]float64, ours[i].Value.Len()), sums(i))
					}
				}
				require.NoError(t, o.Foreseen())
				require.NoError(t, o.Close())
				require.NoError(t, whole.Close())
			}
		}
	})
}

// Micro-batches and steps that are as those before them compile nothing. One with other tensors compiles what has changed.
func TestAccumulateCompilesOnce(t *testing.T) {
	h := newHarness(t, device.Float32, nil)
	b := &counting{cpuDevice: h.dev}
	param := func(name string, grad device.DType) optim.Param {
		return optim.Param{Name: name, Value: h.buffer(device.Float32, []float64{0, 0}), Grad: h.buffer(grad, []float64{1, 2})}
	}
	params := []optim.Param{param("a", device.Float32), param("b", device.BFloat16)}
	o, err := optim.New(b, sgd(1), params)
	require.NoError(t, err)
	require.NoError(t, o.SetAccumulate(true))
	require.NoError(t, o.SetClipNorm(math.Inf(1)))
	cycle := func() int {
		before := b.updates
		for range 2 {
			require.NoError(t, o.Accumulate(nil))
		}
		require.NoError(t, o.Step(nil))
		norm, err := o.GradNorm(nil)
		require.NoError(t, err)
		require.NotZero(t, norm)
		return b.updates - before
	}
	require.Equal(t, 3, cycle(), "a sum of each type, and one update: the sums have one type")
	require.Zero(t, cycle())
	require.NoError(t, o.SetGrad("b", nil))
	require.Equal(t, 2, cycle())
	require.Zero(t, cycle())
	require.Equal(t, []float64{-8, -16}, h.values(params[0].Value))
	require.Equal(t, []float64{-4, -8}, h.values(params[1].Value))
}

func TestAccumulateErrors(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{0})
	h.set(h.grad, []float64{1})
	o := h.optimizer(sgd(1))
	require.ErrorIs(t, o.Accumulate(nil), optim.ErrNotAccumulating)
	require.NoError(t, o.SetAccumulate(false))
	require.NoError(t, o.SetAccumulate(true))
	require.ErrorIs(t, o.Step(nil), optim.ErrNotAccumulated)
	require.Zero(t, o.Steps())
	require.NoError(t, o.Accumulate(nil))
	require.ErrorIs(t, o.SetAccumulate(false), optim.ErrAccumulated)
	require.NoError(t, o.Step(nil))
	require.ErrorIs(t, o.Step(nil), optim.ErrNotAccumulated)
	require.Equal(t, []float64{-1}, h.values(h.value))
	require.Equal(t, 1, o.Steps())
	names, err := o.StateNames(0)
	require.NoError(t, err)
	require.Equal(t, []string{"grad_accumulator"}, names)

	require.NoError(t, o.SetAccumulate(false))
	require.NoError(t, o.Step(nil))
	require.Equal(t, []float64{-2}, h.values(h.value))
	require.Equal(t, []float64{1}, h.values(h.grad), "only read again")

	// A gradient may not be the sum's memory.
	var tensor *optim.TensorError
	require.ErrorAs(t, o.SetGrad("0.0", h.state(o, "grad_accumulator")), &tensor)
	require.ErrorIs(t, tensor, device.ErrOverlap)
}

// A training that goes on between micro-batches has the same bits.
func TestAccumulateResumes(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	init, grads := random(rng, 50), [][]float64{random(rng, 50), random(rng, 50)}
	start := func() (*harness, *optim.Optimizer) {
		h := newHarness(t, device.BFloat16, init)
		o := h.optimizer(sgd(0.1))
		require.NoError(t, o.SetAccumulate(true))
		return h, o
	}
	h, o := start()
	h.set(h.grad, grads[0])
	require.NoError(t, o.Accumulate(nil))
	saved := h.values(h.state(o, "grad_accumulator"))

	again, resumed := start()
	again.set(again.state(resumed, "grad_accumulator"), saved)
	require.NoError(t, resumed.Accumulate(nil)) // of 0
	for _, x := range []struct {
		h *harness
		o *optim.Optimizer
	}{{h, o}, {again, resumed}} {
		x.h.set(x.h.grad, grads[1])
		require.NoError(t, x.o.Accumulate(nil))
		require.NoError(t, x.o.Step(nil))
	}
	requireSame(t, h.values(h.value), again.values(again.value))
}

// What has been accumulated stays where tensors are added, moved and removed.
func TestAccumulateWhileTensorsChange(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		param := func(name string, n int, x float64) optim.Param {
			g := make([]float64, n)
			for i := range g {
				g[i] = x
			}
			return optim.Param{Name: name, Value: h.buffer(device.BFloat16, make([]float64, n)), Grad: h.buffer(device.BFloat16, g)}
		}
		a, c, d := param("a", 5, 1), param("c", 3, 2), param("d", 40, 4)
		o, err := optim.New(b, sgd(1), []optim.Param{a, c})
		require.NoError(t, err)
		require.NoError(t, o.SetAccumulate(true))
		require.NoError(t, o.Accumulate(nil))
		require.NoError(t, o.AddGroup(sgd(0.5), []optim.Param{d}))
		require.NoError(t, o.Accumulate(nil))
		moved := param("a", 5, 8)
		moved.Grad = h.buffer(device.Float32, []float64{8, 8, 8, 8, 8}) // of another type
		require.NoError(t, o.Rebind([]optim.Param{moved}))
		require.NoError(t, o.Remove("c"))
		require.NoError(t, o.Accumulate(nil))
		require.NoError(t, o.Step(nil))
		require.Equal(t, []float64{-10, -10, -10, -10, -10}, h.values(moved.Value))
		require.Equal(t, 0., h.values(c.Value)[0])
		require.Equal(t, 0., h.values(a.Value)[0])
		require.Equal(t, -4., h.values(d.Value)[39])

		late := param("late", 2, 3) // without a gradient yet, it takes no step
		require.NoError(t, o.AddGroup(sgd(1), []optim.Param{{Name: "late", Value: late.Value}}))
		require.NoError(t, o.Accumulate(nil))
		require.NoError(t, o.RemoveGroup(1))
		require.NoError(t, o.Step(nil))
		require.Equal(t, []float64{0, 0}, h.values(late.Value))
		require.Equal(t, -18., h.values(moved.Value)[0])
		require.Equal(t, -4., h.values(d.Value)[39])

		require.NoError(t, o.AddGroup(sgd(1), nil))
		require.NoError(t, o.Accumulate(nil))
		require.NoError(t, o.RemoveGroup(3))
		require.NoError(t, o.Accumulate(nil))
		require.NoError(t, o.Step(nil))
		require.Equal(t, -34., h.values(moved.Value)[0])
		require.NoError(t, o.Close())
	})
}
