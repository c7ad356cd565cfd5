package optim_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/optim"
)

// twin is a tensor in an optimizer of many, and its like in an optimizer of its own.
type twin struct {
	name        string
	group       int
	value, grad *device.Buffer
	like, alone *device.Buffer // value and gradient of the like
	o           *optim.Optimizer
	left        bool
	steps       int
}

// gradients gives the twins others, of a type that their values can have.
func (w *twin) gradients(h *harness, rng *rand.Rand) {
	dtypes := format.PlainTypes(format.Compute(w.value.DType()))
	dtype, zero := dtypes[rng.IntN(len(dtypes))], make([]float64, w.value.Len())
	w.grad, w.alone = h.buffer(dtype, zero), h.buffer(dtype, zero)
}

// Whatever is done between steps, in whatever order, a tensor gets the bits that it gets alone.
func TestAnyOrderOfChanges(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for seed := range uint64(4) {
			rng := rand.New(rand.NewPCG(seed, 1))
			h := onBackend(t, b)
			o, err := optim.New(b, optim.DefaultAdamW(), nil)
			require.NoError(t, err)
			var twins []*twin
			groups := []int{0}
			count := 1
			add := func() {
				algs := []optim.Algorithm{optim.DefaultAdamW(), with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR = 0.1 }), optim.DefaultLion(), optim.DefaultRprop(),
					optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16}, stochastic(3),
					optim.Stored{Algorithm: optim.DefaultAdamW(), Master: optim.MasterFloat32}, optim.Stored{Algorithm: optim.DefaultLion(), Master: optim.MasterRemainder}}
				alg := algs[rng.IntN(len(algs))]
				var params []optim.Param
				for range rng.IntN(4) {
					dtypes := []device.DType{device.Float32, device.BFloat16, device.Float16, device.Float64}
					if stored, ok := alg.(optim.Stored); ok {
						dtypes = dtypes[:3]
						if stored.Master == optim.MasterRemainder {
							dtypes = dtypes[:2]
						}
					}
					dtype := dtypes[rng.IntN(len(dtypes))]
					init := random(rng, 1+rng.IntN(5))
					w := &twin{name: fmt.Sprint("t", len(twins), " ", count), group: count, value: h.buffer(dtype, init), like: h.buffer(dtype, init)}
					w.gradients(h, rng)
					w.o, err = optim.New(b, alg, []optim.Param{{Name: w.name, Value: w.like, Grad: w.alone}})
					require.NoError(t, err)
					twins = append(twins, w)
					params = append(params, optim.Param{Name: w.name, Value: w.value, Grad: w.grad})
				}
				require.NoError(t, o.AddGroup(alg, params))
				groups = append(groups, count)
				count++
			}
			forget := func(gone func(w *twin) bool) {
				var left []*twin
				for _, w := range twins {
					if gone(w) {
						require.NoError(t, w.o.Close())
						continue
					}
					left = append(left, w)
				}
				twins = left
			}
			change := func(group int, f func(o *optim.Optimizer, group int) error) {
				require.NoError(t, f(o, group))
				for _, w := range twins {
					if w.group == group {
						require.NoError(t, f(w.o, 0))
					}
				}
			}
			add()
			for range 120 {
				group := groups[rng.IntN(len(groups))]
				var some *twin
				if len(twins) > 0 {
					some = twins[rng.IntN(len(twins))]
				}
				switch op := rng.IntN(12); {
				case op == 0 && len(groups) < 8:
					add()
				case op == 1 && len(groups) > 3 && rng.IntN(3) == 0:
					require.NoError(t, o.RemoveGroup(group))
					forget(func(w *twin) bool { return w.group == group })
					groups = slicesWithout(groups, group)
				case op == 2 && len(twins) > 4:
					require.NoError(t, o.Remove(some.name))
					forget(func(w *twin) bool { return w == some })
				case op == 3:
					x := []float64{0, 0.01, 0.5}[rng.IntN(3)]
					change(group, func(o *optim.Optimizer, group int) error {
						err := o.SetHyperparameter("weight_decay", x, group)
						if err != nil { // Rprop
							return o.SetHyperparameter("maximize", 1, group)
						}
						return err
					})
				case op == 4:
					x := rng.Float64() / 10
					change(group, func(o *optim.Optimizer, group int) error { return o.SetLR(x, group) })
				case op == 5 && some != nil:
					moved, grad := h.buffer(some.value.DType(), h.values(some.value)), some.grad
					if some.left {
						grad = nil
					}
					require.NoError(t, o.Rebind([]optim.Param{{Name: some.name, Value: moved, Grad: grad}}))
					h.set(some.value, make([]float64, some.value.Len()))
					some.value = moved
				case op == 6 && some != nil:
					some.left = !some.left
					grad := some.grad
					if some.left {
						grad = nil
					}
					require.NoError(t, o.SetGrad(some.name, grad))
				case op == 9 && some != nil && rng.IntN(3) == 0:
					some.gradients(h, rng)
					require.NoError(t, some.o.SetGrad(some.name, some.alone))
					if !some.left {
						require.NoError(t, o.SetGrad(some.name, some.grad))
					}
				case op == 7 && some != nil:
					// A sum of squares differs where there are others, so that clipping would; measuring does not.
					require.NoError(t, o.SetClipNorm([]float64{0, 1e300}[rng.IntN(2)]))
				case op == 8 && some != nil:
					counters := map[string]float64{"step": float64(rng.IntN(3))}
					if uint64(some.steps) > 0 && counters["step"] <= float64(o.Steps()) && counters["step"] <= float64(some.o.Steps()) {
						require.NoError(t, o.SetTensorCounters(nil, some.name, counters))
						require.NoError(t, some.o.SetTensorCounters(nil, some.name, counters))
					}
				default:
					for _, w := range twins {
						g := random(rng, w.grad.Len())
						h.set(w.grad, g)
						h.set(w.alone, g)
						if !w.left {
							require.NoError(t, w.o.Step(nil))
							w.steps++
						}
					}
					require.NoError(t, o.Step(nil))
					require.NoError(t, o.Foreseen())
					for _, w := range twins {
						require.Equal(t, h.values(w.like), h.values(w.value), "seed %d: %s", seed, w.name)
						counters, err := o.TensorCounters(nil, w.name)
						require.NoError(t, err)
						want, err := w.o.TensorCounters(nil, w.name)
						require.NoError(t, err)
						require.Equal(t, want, counters, "seed %d: %s", seed, w.name)
					}
				}
			}
			forget(func(*twin) bool { return true })
			require.NoError(t, o.Close())
		}
	})
}

func slicesWithout(x []int, gone int) (out []int) {
	for _, v := range x {
		if v != gone {
			out = append(out, v)
		}
	}
	return out
}
