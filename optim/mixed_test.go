package optim_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// kinds are the types that value and gradient of a tensor can have.
var kinds = [][2]device.DType{{device.Float32, device.Float32}, {device.Float32, device.BFloat16}, {device.BFloat16, device.Float32},
	{device.BFloat16, device.BFloat16}, {device.Float16, device.Float16}, {device.Float16, device.BFloat16}, {device.Float64, device.Float64}}

// Tensors of all types are one group, with one norm, and each does what it does alone with gradients that have been clipped by that
// norm.
func TestMixedTypes(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h, rng := onBackend(t, b), rand.New(rand.NewPCG(3, 4))
		var params []optim.Param
		var alone []*optim.Optimizer
		var likes []optim.Param
		alg := optim.DefaultAdamW()
		for _, kind := range kinds {
			n := 1 + rng.IntN(5000)
			init := random(rng, n)
			p := optim.Param{Name: kind[0].Short() + kind[1].Short(), Value: h.buffer(kind[0], init), Grad: h.buffer(kind[1], init)}
			like := optim.Param{Name: p.Name, Value: h.buffer(kind[0], init), Grad: p.Grad}
			params, likes = append(params, p), append(likes, like)
			o, err := optim.New(b, alg, []optim.Param{like})
			require.NoError(t, err)
			alone = append(alone, o)
		}
		o, err := optim.New(b, alg, params)
		require.NoError(t, err)
		require.NoError(t, o.SetClipNorm(1e6)) // clips nothing
		for range 2 {
			var sums []float64
			for i, p := range params {
				h.set(p.Grad, random(rng, p.Grad.Len()))
				x := h.values(p.Grad)
				for lo := 0; lo < len(x); lo += kernels.NormTile {
					sums = append(sums, kernels.SumSquares(x[lo:min(lo+kernels.NormTile, len(x))], 1))
				}
				require.NoError(t, alone[i].Step(nil))
			}
			require.NoError(t, o.Step(nil))
			norm, err := o.GradNorm(nil)
			require.NoError(t, err)
			require.Equal(t, math.Sqrt(kernels.SumTree(sums)), norm)
		}
		for i, p := range params {
			require.Equal(t, h.values(likes[i].Value), h.values(p.Value), p.Name)
			states, err := o.States(p.Name)
			require.NoError(t, err)
			for slot, buffer := range states {
				like, err := alone[i].State(p.Name, slot)
				require.NoError(t, err)
				require.Equal(t, like.DType(), buffer.DType())
				require.Equal(t, h.values(like), h.values(buffer), "%s: %s", p.Name, slot)
			}
		}
	})
}

// State lies where vectors of elements of several sizes begin at the same element: as many elements from a line as its tensor's value.
func TestMixedTypesLieAlike(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h := onBackend(t, b)
		for _, dtype := range []device.DType{device.Float32, device.BFloat16, device.Float64} {
			whole, grads := h.buffer(dtype, make([]float64, 400)), h.buffer(dtype, make([]float64, 400))
			var params []optim.Param
			for i, at := range []int{0, 37, 130, 333} {
				value, err := whole.Slice(at, []int{37, 130, 333, 400}[i])
				require.NoError(t, err)
				grad, err := grads.Slice(at, at+value.Len())
				require.NoError(t, err)
				params = append(params, optim.Param{Name: string(rune('a' + i)), Value: value, Grad: grad})
			}
			var alg optim.Algorithm = optim.DefaultAdam()
			if dtype != device.Float64 {
				alg = optim.Stored{Algorithm: alg, State: map[string]device.DType{"exp_avg": device.BFloat16, "max_exp_avg_sq": device.Float16}}
			}
			o, err := optim.New(b, alg, params)
			require.NoError(t, err)
			require.NoError(t, o.SetHyperparameter("amsgrad", 1)) // which adds state
			for _, p := range params {
				states, err := o.States(p.Name)
				require.NoError(t, err)
				count := 0
				for slot, buffer := range states {
					element := func(b *device.Buffer) uint64 { return b.Addr() / uint64(b.DType().Size()) % 8 }
					require.Equal(t, element(p.Value), element(buffer), "%s %s: %s", dtype, p.Name, slot)
					count++
				}
				require.Equal(t, 3, count)
			}
			require.NoError(t, o.Step(nil))
			require.NoError(t, o.Close())
		}
	})
}

// A training of 16 bits that is saved and goes on elsewhere has the bits of one that never stopped.
func TestResume16(t *testing.T) {
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		h, rng := onBackend(t, b), rand.New(rand.NewPCG(5, 6))
		const n = 50
		init := random(rng, n)
		alg := optim.Stored{Algorithm: optim.Regularized{Algorithm: with(optim.DefaultYogi(), func(c *optim.Yogi) { c.InitialAccumulator = 0.1 }), L1: 0.01},
			All: device.BFloat16, State: map[string]device.DType{"exp_avg_sq": device.Float16}}
		start := func() (optim.Param, *optim.Optimizer) {
			p := optim.Param{Name: "w", Value: h.buffer(device.BFloat16, init), Grad: h.buffer(device.BFloat16, init)}
			o, err := optim.New(b, alg, []optim.Param{p})
			require.NoError(t, err)
			return p, o
		}
		p, o := start()
		step := func(p optim.Param, o *optim.Optimizer, k int) {
			h.set(p.Grad, random(rand.New(rand.NewPCG(uint64(k), 7)), n))
			require.NoError(t, o.Step(nil))
		}
		for k := range 3 {
			step(p, o, k)
		}
		q, resumed := start()
		require.NoError(t, b.Device().DefaultStream().Copy(q.Value, p.Value))
		states, err := o.States("w")
		require.NoError(t, err)
		for slot, buffer := range states {
			to, err := resumed.State("w", slot)
			require.NoError(t, err)
			require.NoError(t, b.Device().DefaultStream().Copy(to, buffer), "types are the same")
		}
		kept, err := o.TensorCounters(nil, "w")
		require.NoError(t, err)
		require.NoError(t, resumed.SetTensorCounters(nil, "w", kept))
		require.NoError(t, resumed.SetSteps(o.Steps()))
		for k := 3; k < 5; k++ {
			step(p, o, k)
			step(q, resumed, k)
		}
		require.Equal(t, h.values(p.Value), h.values(q.Value))
		require.NotEqual(t, init, h.values(p.Value))
		for slot, buffer := range states {
			to, err := resumed.State("w", slot)
			require.NoError(t, err)
			require.Equal(t, h.values(buffer), h.values(to), slot)
		}
	})
}

// State of 16 bits that has not been touched follows the hyperparameter that it starts as.
func TestRefill16(t *testing.T) {
	h := newHarness(t, device.BFloat16, []float64{1, 2})
	alg := with(optim.DefaultAdagrad(), func(c *optim.Adagrad) { c.InitialAccumulator = 0.1 })
	o := h.optimizer(optim.Stored{Algorithm: alg, All: device.BFloat16})
	sum := h.state(o, "sum")
	require.Equal(t, []float64{0.10009765625, 0.10009765625}, h.values(sum))
	require.NoError(t, o.SetHyperparameter("initial_accumulator_value", 0.3))
	require.NoError(t, o.Step(nil)) // with gradients of 0
	require.Equal(t, []float64{0.30078125, 0.30078125}, h.values(sum))
	var e *optim.HyperparameterError
	require.ErrorAs(t, o.SetHyperparameter("initial_accumulator_value", 3.4e38), &e)
	require.EqualError(t, e, "optim: adagrad: initial_accumulator_value is 3.4e+38, must be below 2^128, which bfloat16 takes for infinity")
}

// narrow is a device that holds float32 alone.
type narrow struct{ kernels.Backend }

func (narrow) Storage(compute device.DType) []device.DType { return []device.DType{device.Float32} }

func TestTypesThatTheDeviceDoesNotHold(t *testing.T) {
	h := newHarness(t, device.Float32, []float64{1})
	half := h.buffer(device.BFloat16, []float64{1})
	for _, c := range []struct {
		alg         optim.Algorithm
		value, grad *device.Buffer
		want        string
	}{
		{sgd(1), half, h.grad, `optim: group 0, tensor "0.0": value is bfloat16: not supported by this device`},
		{sgd(1), h.value, half, `optim: group 0, tensor "0.0": grad is bfloat16: not supported by this device`},
		{optim.Stored{Algorithm: optim.DefaultAdam(), All: device.Float16}, h.value, h.grad, `optim: group 0: exp_avg is float16: not supported by this device`},
	} {
		_, err := optim.New(narrow{h.dev}, c.alg, []optim.Param{{Value: c.value, Grad: c.grad}})
		require.EqualError(t, err, c.want)
		require.ErrorIs(t, err, device.ErrUnsupported)
	}
}

// What docs/numerics.md says of what 16 bits lose.
func TestWhat16BitsLose(t *testing.T) {
	h := newHarness(t, device.BFloat16, []float64{1, -1.5, 0.25})
	h.set(h.grad, []float64{0.5, 0.5, 0.5})
	o := h.optimizer(optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16})
	moment := h.state(o, "exp_avg_sq")
	step := func(n int) {
		for range n {
			require.NoError(t, o.Step(nil))
		}
	}
	step(100)
	moved := h.values(h.value)
	require.Equal(t, []float64{1, -1.5}, moved[:2], "a parameter stalls")
	require.Less(t, moved[2], 0.25, "a small one does not")
	risen := h.values(moment)
	require.Greater(t, risen[0], 0.0)
	h.set(h.grad, make([]float64, 3))
	step(100)
	require.Equal(t, risen, h.values(moment), "a second moment does not fall")

	single, grad := h.buffer(device.Float32, []float64{1}), h.buffer(device.BFloat16, []float64{5e-3})
	o, err := optim.New(h.dev, optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.Float16}, []optim.Param{{Name: "w", Value: single, Grad: grad}})
	require.NoError(t, err)
	step(10)
	half, err := o.State("w", "exp_avg_sq")
	require.NoError(t, err)
	require.Equal(t, []float64{0}, h.values(half), "a second moment stays 0")
	h.set(grad, []float64{0})
	step(1)
	require.Less(t, h.values(single)[0], -10.0, "the step is far too large")
}

// Memory is shared by bytes, whatever types are in them.
func TestOverlapOfTypes(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	memory := make([]float32, 8)
	wrap := func(x any) *device.Buffer {
		b, err := dev.WrapSlice(x)
		require.NoError(t, err)
		return b
	}
	halves := unsafe.Slice((*uint16)(unsafe.Pointer(&memory[0])), 16)
	wide := optim.Param{Name: "wide", Value: wrap(memory[:4])}
	for first, overlaps := range map[int]bool{7: true, 8: false} {
		_, err := optim.New(dev, sgd(1), []optim.Param{wide, {Name: "half", Value: wrap(halves[first:])}})
		if overlaps {
			require.ErrorIs(t, err, device.ErrOverlap)
		} else {
			require.NoError(t, err)
		}
	}
}

// The slots of a large tensor begin at different places in any power of two, as far from a line as its value.
func TestLargeStateIsStaggered(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	const n, offset = 1 << 18, 5
	value, err := dev.Alloc(device.Float32, n+offset)
	require.NoError(t, err)
	value, err = value.Slice(offset, offset+n)
	require.NoError(t, err)
	grad, err := dev.Alloc(device.Float32, n)
	require.NoError(t, err)
	o, err := optim.New(dev, optim.DefaultAdamW(), []optim.Param{{Name: "x", Value: value, Grad: grad}})
	require.NoError(t, err)
	begins := map[uint64]bool{value.Addr() % 4096: true}
	states, err := o.States("x")
	require.NoError(t, err)
	for name, b := range states {
		require.Equal(t, value.Addr()%128, b.Addr()%128, name)
		require.False(t, begins[b.Addr()%4096], name)
		begins[b.Addr()%4096] = true
	}
	require.NoError(t, o.Close())
}
