package cpu_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// FuzzImplementations holds every implementation to the rule itself, as the Go compiler made it: any rule and options, anything around it,
// any hyperparameters and any bit patterns.
func FuzzImplementations(f *testing.F) {
	rules := optim.Rules()
	for i := range rules {
		f.Add(uint8(i), uint64(i), uint8(i), uint64(1000+i), uint16(1+97*i%3000), uint8(i%4))
	}
	f.Fuzz(func(t *testing.T, which uint8, options uint64, around uint8, seed uint64, n uint16, offset uint8) {
		r := rules[int(which)%len(rules)]
		options %= 1 << len(r.Options)
		s := kernels.Spec{Rule: r, Options: options, Around: rule.Around(around) % (rule.ZeroGrad << 1), Compute: device.Float32}
		s.Around &^= kernels.Refused(r)
		same[float32](t, s, seed, int(n), int(offset%4))
		s.Compute = device.Float64
		same[float64](t, s, seed, int(n), int(offset%4))
	})
}

// same runs two steps of one tensor by every implementation and compares all planes.
func same[F rule.Float](t *testing.T, s kernels.Spec, seed uint64, n, offset int) {
	p, err := kernels.New(s)
	require.NoError(t, err)
	all := cpu.Implementations()
	want := run[F](t, all[0], p, seed, n, offset)
	for _, name := range all[1:] {
		got := run[F](t, name, p, seed, n, offset)
		for k := range want {
			for i, x := range want[k] {
				if y := got[k][i]; x != y && (x == x || y == y) || math.Signbit(float64(x)) != math.Signbit(float64(y)) && x == x {
					t.Fatalf("%s, %s, seed %d, %d elements at %d: %s[%d] is %v (%x), the rule makes it %v (%x)",
						name, p, seed, n, offset, p.Of(k).Name, i, y, y, x, x)
				}
			}
		}
	}
}

// run returns the planes after two steps on what the seed gives.
func run[F rule.Float](t *testing.T, implementation string, p *kernels.Program, seed uint64, n, offset int) [][]F {
	t.Setenv(cpu.Environment, implementation)
	dev := cpu.NewThreads(1)
	defer dev.Close()
	rng := rand.New(rand.NewPCG(seed, 1))
	var planes [][]F
	tensor, n := cpu.TensorOf(p, n, int(1+seed%64))
	for _, plane := range p.Planes {
		x := anything[F](rng, kernels.Numbers(plane.Domain, n, tensor.Rows, tensor.Matrices)+offset)[offset:]
		b, err := cpu.Wrap(dev, x)
		require.NoError(t, err)
		planes, tensor.Planes = append(planes, x), append(tensor.Planes, b)
	}
	counters, err := cpu.Wrap(dev, p.InitialCounters())
	require.NoError(t, err)
	sums := anything[float64](rng, p.SumWords())
	if p.Matrix() {
		sums = p.InitialSums(n, tensor.Rows, tensor.Matrices)
	}
	tensor.Sums, err = cpu.Wrap(dev, sums)
	require.NoError(t, err)
	u, err := dev.Compile(kernels.Work{Program: p, Tensors: []kernels.Tensor{tensor}, Counters: []*device.Buffer{counters}})
	require.NoError(t, err)
	for range 2 {
		hyper := func() float64 {
			if rng.IntN(4) == 0 {
				return anything[float64](rng, 1)[0]
			}
			return rng.Float64()
		}
		g := kernels.GroupStep{Scale: float64(anything[F](rng, 1)[0]), L1: hyper(), WeightDecay: hyper(), DecoupledDecay: hyper(),
			ClipValue: hyper(), EMADecay: hyper(), MaxTensorNorm: hyper()}
		for range p.Rule.Hyper {
			g.Hyper = append(g.Hyper, hyper())
		}
		require.NoError(t, u.Enqueue(dev.DefaultStream(), kernels.Step{Groups: []kernels.GroupStep{g}}))
	}
	require.NoError(t, dev.DefaultStream().Synchronize())
	return planes
}

// anything is ordinary numbers, any bit patterns, and small ones that are on the brink of being flushed.
func anything[F rule.Float](rng *rand.Rand, n int) []F {
	x := make([]F, n)
	for i := range x {
		switch rng.IntN(3) {
		case 0:
			x[i] = F(rng.NormFloat64())
		case 1:
			x[i] = rule.SmallestNormal[F]() * F(4*rng.Float64()-2)
		default:
			x[i] = F(math.Float64frombits(rng.Uint64()))
			if v, ok := any(x).([]float32); ok {
				v[i] = math.Float32frombits(rng.Uint32())
			}
		}
	}
	return x
}
