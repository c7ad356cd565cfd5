package gorgonia_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"

	fusestep "github.com/fusestep/fusestep/interop/gorgonia"
)

var dtypes = []tensor.Dtype{tensor.Float32, tensor.Float64}

type network struct {
	name  string
	build builder
}

var nets = []network{{"line", line}, {"xor", xor}, {"convolution", convolution}}

// elsewhere is a backend that the solver does not know for the CPU, so that it copies.
type elsewhere struct{ kernels.Backend }

// newSolver makes a solver on the CPU, in place or, as on a device with memory of its own, on copies.
func newSolver(t *testing.T, copied bool, alg optim.Algorithm, configure ...func(*optim.Optimizer) error) *fusestep.Solver {
	dev := cpu.NewThreads(2)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	var b kernels.Backend = dev
	if copied {
		b = elsewhere{b}
	}
	s, err := fusestep.NewSolver(b, alg, configure...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Networks trained by Gorgonia's own solver and by ours are the same to the last bit where both do the same operations in the same
// order. A velocity of steps is one of gradients times -lr, with the same roundings where lr is a power of two.
func TestTrainsAsGorgoniaDoes(t *testing.T) {
	const steps = 50
	lr := gorgonia.WithLearnRate
	tests := []struct {
		name   string
		theirs func() gorgonia.Solver
		ours   optim.Algorithm
		nets   []network
	}{
		{"vanilla", func() gorgonia.Solver { return gorgonia.NewVanillaSolver(lr(0.1)) }, sgd(0.1), nets},
		{"vanilla, L1", func() gorgonia.Solver { return gorgonia.NewVanillaSolver(lr(0.1), gorgonia.WithL1Reg(0.01)) },
			with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.L1 = 0.1, 0.01 }), nets},
		{"vanilla, L2", func() gorgonia.Solver { return gorgonia.NewVanillaSolver(lr(0.1), gorgonia.WithL2Reg(0.01)) },
			with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.WeightDecay = 0.1, 0.01 }), nets},
		{"momentum", func() gorgonia.Solver { return gorgonia.NewMomentum(lr(0.0625), gorgonia.WithMomentum(0.9)) },
			with(optim.DefaultSGD(), func(c *optim.SGD) { c.LR, c.Momentum = 0.0625, 0.9 }), nets[1:]}, // theirs forgets a scalar's velocity
	}
	for _, tt := range tests {
		for _, n := range tt.nets {
			for _, dtype := range dtypes {
				t.Run(tt.name+"/"+n.name+"/"+dtype.String(), func(t *testing.T) {
					theirs, ours := newNet(t, dtype, true, n.build), newNet(t, dtype, true, n.build)
					start := theirs.values()
					first, last := theirs.train(tt.theirs(), steps)
					require.Less(t, last, first)
					ours.train(newSolver(t, false, tt.ours), steps)
					require.NotEqual(t, start, theirs.values())
					require.Equal(t, theirs.values(), ours.values())
				})
			}
		}
	}
}

// Where the tensors are, whether they stay there, and whether the device has memory of its own, changes no bit.
func TestWhereTensorsAre(t *testing.T) {
	const steps = 20
	alg := with(optim.DefaultAdamW(), func(c *optim.AdamW) { c.LR, c.Betas, c.Eps, c.WeightDecay = 0.01, [2]float64{0.9, 0.999}, 1e-8, 0.01 })
	clip := func(o *optim.Optimizer) error { return o.SetClipNorm(0.1) }
	for _, n := range nets {
		for _, dtype := range dtypes {
			t.Run(n.name+"/"+dtype.String(), func(t *testing.T) {
				want := newNet(t, dtype, true, n.build)
				want.train(newSolver(t, false, alg, clip), steps)

				moving := newNet(t, dtype, false, n.build)
				moving.train(newSolver(t, false, alg, clip), steps)
				require.Equal(t, want.values(), moving.values(), "gradients that move")

				copied := newNet(t, dtype, true, n.build)
				copied.train(newSolver(t, true, alg, clip), steps)
				require.Equal(t, want.values(), copied.values(), "another device")

				let := newNet(t, dtype, true, n.build)
				s := newSolver(t, false, alg, clip)
				for range steps {
					let.train(s, 1)
					for _, l := range let.learn {
						v, err := gorgonia.CloneValue(l.Value())
						require.NoError(t, err)
						gorgonia.ZeroValue(l.Value()) // what was left is nobody's
						require.NoError(t, gorgonia.Let(l, v))
					}
				}
				require.Equal(t, want.values(), let.values(), "values that move")
				require.Equal(t, steps, s.Optimizer().Steps())
			})
		}
	}
}

// Nodes that share a gradient all learn from it: it is set to 0 after the last of them.
func TestSharedGradient(t *testing.T) {
	grad := gorgonia.NewF64(2)
	a, b := &param{"a", gorgonia.NewF64(1), grad}, &param{"b", gorgonia.NewF64(10), grad}
	require.NoError(t, newSolver(t, false, sgd(0.5)).Step([]gorgonia.ValueGrad{a, b}))
	require.Equal(t, []float64{0}, numbers(a.value))
	require.Equal(t, []float64{9}, numbers(b.value))
	require.Equal(t, []float64{0}, numbers(grad))
}

// The gradient of a sum is a constant, one for all of Gorgonia's graphs. It is the same after a step, and in the next graph.
func TestConstantGradient(t *testing.T) {
	for _, dual := range []bool{false, true} {
		n := newNet(t, tensor.Float64, dual, func(b *build) (gorgonia.Nodes, *gorgonia.Node) {
			a := gorgonia.NewScalar(b.g, b.dtype, gorgonia.WithName("a"), gorgonia.WithValue(1.0))
			c := gorgonia.NewScalar(b.g, b.dtype, gorgonia.WithName("c"), gorgonia.WithValue(2.0))
			return gorgonia.Nodes{a, c}, gorgonia.Must(gorgonia.Add(a, c))
		})
		n.train(newSolver(t, false, sgd(1)), 3)
		require.Equal(t, [][]float64{{-2}, {-1}}, n.values(), "dual values: %t", dual)
	}
}

// Every algorithm makes the cost fall, and one that suits the problem solves it.
func TestLearns(t *testing.T) {
	for _, c := range optim.Cases() {
		first, last := newNet(t, tensor.Float32, true, xor).train(newSolver(t, false, c.Algorithm), 100)
		require.Less(t, last, first, c.Name)
	}
	alg := optim.DefaultAdamW()
	alg.LR = 0.05
	_, last := newNet(t, tensor.Float32, true, xor).train(newSolver(t, false, alg), 300)
	require.Less(t, last, 0.01)
}
