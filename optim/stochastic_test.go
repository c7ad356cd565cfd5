package optim_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/optim"
)

// stochastic is AdamW whose values and state of 16 bits are rounded stochastically.
func stochastic(seed uint64) optim.Stored {
	return optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16, State: map[string]device.DType{"exp_avg_sq": device.Float16},
		Stochastic: true, Seed: seed}
}

// run is a training of some tensors, by name.
type run struct {
	h             *harness
	o             *optim.Optimizer
	values, grads map[string]*device.Buffer
}

// stochasticLengths are of the run's tensors: of one element, of a tail, and of many chunks.
var stochasticLengths = map[string]int{"a": 1, "b": 33, "c": 300, "d": 70_001}

// numbers are a tensor's values for step 0, and its gradients of a step.
func numbers(name string, step, n int) []float64 {
	rng, x := rand.New(rand.NewPCG(uint64(name[0]), uint64(step))), make([]float64, n)
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	return x
}

// newRun makes one whose tensors are in the groups, in the order given.
func newRun(t *testing.T, b kernels.Backend, alg optim.Algorithm, groups ...[]string) *run {
	r := &run{h: onBackend(t, b), values: map[string]*device.Buffer{}, grads: map[string]*device.Buffer{}}
	for g, names := range groups {
		var params []optim.Param
		for _, name := range names {
			n := stochasticLengths[name]
			r.values[name], r.grads[name] = r.h.buffer(device.BFloat16, numbers(name, 0, n)), r.h.buffer(device.BFloat16, make([]float64, n))
			params = append(params, optim.Param{Name: name, Value: r.values[name], Grad: r.grads[name]})
		}
		if g == 0 {
			var err error
			r.o, err = optim.New(b, alg, params)
			require.NoError(t, err)
		} else {
			require.NoError(t, r.o.AddGroup(alg, params))
		}
	}
	return r
}

// steps takes the steps from first to last.
func (r *run) steps(first, last int) {
	for step := first; step <= last; step++ {
		for name, g := range r.grads {
			r.h.set(g, numbers(name, step, g.Len()))
		}
		require.NoError(r.h.t, r.o.Step(nil))
	}
}

// bits are those of all values and state.
func (r *run) bits() map[string]reference.Plane {
	out := map[string]reference.Plane{}
	for name, v := range r.values {
		out[name] = planeOf(r.h.t, v)
		states, err := r.o.States(name)
		require.NoError(r.h.t, err)
		for slot, b := range states {
			out[name+" "+slot] = planeOf(r.h.t, b)
		}
	}
	return out
}

// However tensors are grouped and ordered, each is rounded as it is alone; and on as many threads as there are, on every executor alike.
func TestStochasticGroups(t *testing.T) {
	var all map[string]reference.Plane
	same := func(t *testing.T, got map[string]reference.Plane) {
		if all == nil {
			all = got
		}
		for what, plane := range got {
			require.Equal(t, all[what], plane, what)
		}
	}
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		for _, groups := range [][][]string{{{"a", "b", "c", "d"}}, {{"d", "b", "a", "c"}}, {{"c"}, {"d", "a"}, {"b"}}, {{"d"}}, {{"b"}}} {
			r := newRun(t, b, stochastic(5), groups...)
			r.steps(1, 4)
			same(t, r.bits())
			require.NoError(t, r.o.Close())
		}
	})
	dev := cpu.NewThreads(3)
	defer dev.Close()
	r := newRun(t, dev, stochastic(5), []string{"a", "b", "c", "d"})
	r.steps(1, 4)
	same(t, r.bits())
	other := newRun(t, dev, stochastic(6), []string{"a", "b", "c", "d"})
	other.steps(1, 4)
	require.NotEqual(t, all["d"], other.bits()["d"], "another seed rounds otherwise")
}

// A training that goes on from its values, state and counters goes on with the same bits.
func TestStochasticResume(t *testing.T) {
	dev := cpu.NewThreads(2)
	defer dev.Close()
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range stochasticLengths {
			if !yield(name) {
				return
			}
		}
	})
	whole := newRun(t, dev, stochastic(5), names)
	whole.steps(1, 6)
	first := newRun(t, dev, stochastic(5), names)
	first.steps(1, 3)
	second := newRun(t, dev, stochastic(5), names)
	for name, v := range first.values {
		second.h.set(second.values[name], first.h.values(v))
		states, err := first.o.States(name)
		require.NoError(t, err)
		for slot, b := range states {
			to, err := second.o.State(name, slot)
			require.NoError(t, err)
			second.h.set(to, first.h.values(b))
		}
	}
	counters, err := first.o.GroupCounters(nil, 0)
	require.NoError(t, err)
	require.NoError(t, second.o.SetGroupCounters(nil, 0, counters))
	require.NoError(t, second.o.SetSteps(first.o.Steps()))
	second.steps(4, 6)
	require.Equal(t, whole.bits(), second.bits())
}

// Values of 16 bits that are rounded to nearest do not move by steps below half of their last place. Rounded stochastically, their mean moves as
// a float32 does. Each rounding moves a value by less than a unit, and is 0 in the mean whatever came before: the sum of N·T of them is beyond
// unit·√(N·T·ln(2/chance)/2) with that chance at most (Azuma and Hoeffding).
func TestStochasticLearns(t *testing.T) {
	const n, steps, lr, chance = 1 << 16, 256, 0x1p-13, 1e-11
	dev := cpu.NewThreads(2)
	defer dev.Close()
	for dtype, unit := range map[device.DType]float64{device.BFloat16: 0x1p-8, device.Float16: 0x1p-11} { // below 1
		values := func(stochastic bool) []float64 {
			h := onBackend(t, dev)
			value, grad := h.buffer(dtype, slices.Repeat([]float64{1}, n)), h.buffer(dtype, slices.Repeat([]float64{1}, n))
			o, err := optim.New(dev, optim.Stored{Algorithm: with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR = lr }), Stochastic: stochastic, Seed: 1},
				[]optim.Param{{Value: value, Grad: grad}})
			require.NoError(t, err)
			for range steps {
				require.NoError(t, o.Step(nil))
			}
			return h.values(value)
		}
		for _, x := range values(false) {
			require.Equal(t, 1.0, x, "%s, to nearest", dtype)
		}
		mean := 0.0
		for _, x := range values(true) {
			mean += x / n
		}
		bound := unit * math.Sqrt(steps*math.Log(2/chance)/2/n)
		require.Less(t, bound, steps*lr/20, "else the test says nothing")
		require.InDelta(t, 1-steps*lr, mean, bound, fmt.Sprint(dtype))
	}
}

// How a group rounds stays, but its seed can be another from a step on.
func TestStochasticStays(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	nearest := stochastic(5)
	nearest.Stochastic = false
	r := newRun(t, dev, stochastic(5), []string{"c"})
	require.EqualError(t, r.o.SetAlgorithm(0, nearest), "optim: group 0: algorithm adamw: stochastic is false, the group's true: another rounding needs a new group")
	r.steps(1, 1)
	require.NoError(t, r.o.SetAlgorithm(0, stochastic(6)))
	r.steps(2, 2)
	same, other := newRun(t, dev, stochastic(5), []string{"c"}), newRun(t, dev, stochastic(6), []string{"c"})
	same.steps(1, 1)
	other.steps(1, 1)
	require.NotEqual(t, same.bits(), other.bits())
	require.NoError(t, same.o.SetAlgorithm(0, stochastic(6)))
	same.steps(2, 2)
	require.Equal(t, same.bits(), r.bits())
}

// What is evaluated of a group that rounds stochastically is rounded to nearest: it is no step.
func TestStochasticEval(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	alg := optim.Stored{Algorithm: optim.DefaultScheduleFreeAdamW(), All: device.BFloat16, Stochastic: true}
	r := newRun(t, dev, alg, []string{"c"})
	r.steps(1, 3)
	to := r.h.buffer(device.BFloat16, make([]float64, stochasticLengths["c"]))
	before := r.bits()
	require.NoError(t, r.o.EvalParams(nil, map[string]*device.Buffer{"c": to}))
	first := planeOf(t, to)
	require.Equal(t, before, r.bits())
	require.NoError(t, r.o.EvalParams(nil, map[string]*device.Buffer{"c": to}))
	require.Equal(t, first, planeOf(t, to))
	z, err := r.o.State("c", "z")
	require.NoError(t, err)
	beyond := float32(1 - 1/optim.DefaultScheduleFreeAdamW().Betas[0])
	for i, v := range r.h.values(r.values["c"]) {
		y, z := float32(v), float32(r.h.values(z)[i])
		x := y + float32(beyond*(z-y))
		require.Equal(t, reference.Bits(device.BFloat16, float64(x)), first[i], "element %d", i)
	}
}
