package kerneltest

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// runNorm holds the norm to the tree of kernels.SumSquares and SumTree, over tensors of both types, and then a clipped step to
// the gradient scale that it gives.
func runNorm(t *testing.T, b kernels.Backend) {
	dev := b.Device()
	defer dev.Close()
	s := dev.DefaultStream()
	rng := rand.New(rand.NewPCG(5, 6))
	tests := []struct {
		name    string
		lengths []int
		scale   float64
	}{
		{"nothing", nil, 1},
		{"empty", []int{0, 0}, 1},
		{"one", []int{1}, 1},
		{"around a tile", []int{kernels.NormTile - 1, kernels.NormTile, kernels.NormTile + 1, 3}, 1e-3},
		{"more tiles than a tile", []int{kernels.NormTile*kernels.NormTile + 5}, 1},
		{"squares beyond float32", []int{1000, 33}, 1e30},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var grads []*device.Buffer
			var sums []float64
			for i, n := range tt.lengths {
				x := make([]float64, n)
				y := make([]float32, n)
				for k := range x {
					x[k] = rng.NormFloat64() * tt.scale
					y[k] = float32(x[k])
				}
				dtype := []device.DType{device.Float32, device.Float64}[i%2]
				g, err := dev.Alloc(dtype, n)
				require.NoError(t, err)
				defer g.Close()
				if dtype == device.Float32 {
					upload(t, s, g, y)
				} else {
					upload(t, s, g, x)
				}
				for lo := 0; lo < n; lo += kernels.NormTile {
					hi := min(lo+kernels.NormTile, n)
					if dtype == device.Float32 {
						sums = append(sums, kernels.SumSquares(y[lo:hi]))
					} else {
						sums = append(sums, kernels.SumSquares(x[lo:hi]))
					}
				}
				grads = append(grads, g)
			}
			norm, err := b.CompileNorm(grads)
			require.NoError(t, err)
			require.NoError(t, norm.Enqueue(s))
			got, want := download[float64](t, s, norm.Total())[0], math.Sqrt(kernels.SumTree(sums))
			require.Equal(t, math.Float64bits(want), math.Float64bits(got), "norm is %v, want %v", got, want)
			for _, maxNorm := range []float64{want / 3, want * 2} {
				clippedStep(t, b, norm, want, maxNorm)
			}
			require.NoError(t, norm.Close())
		})
	}
}

// clippedStep runs plain gradient descent on one tensor of its own with the norm.
func clippedStep(t *testing.T, b kernels.Backend, norm kernels.Norm, total, maxNorm float64) {
	p := kernels.Program{Rule: kernels.SGDRule().Rule, DType: device.Float32}
	w, tensors := work[float32](t, b, p, []int{100}, 1, rand.New(rand.NewPCG(7, 8)))
	u, err := b.Compile(w)
	require.NoError(t, err)
	in := kernels.Step{Hyper: []float64{0.5, 0, 0, 0, 0}, Scale: []float64{-1}, Norm: norm, MaxNorm: maxNorm}
	s := b.Device().DefaultStream()
	require.NoError(t, u.Enqueue(s, in))
	coef := maxNorm / (total + 1e-6)
	if !(coef < 1) {
		coef = 1
	}
	expectStep(t, p, in.Hyper, p.Rule.InitialState(), float32(-coef), tensors, 0)
	compare(t, s, p, tensors, "clipped step")
	require.NoError(t, u.Close())
}

// runTraffic checks that the traffic of an update leaves every byte as it is.
func runTraffic(t *testing.T, b kernels.Backend) {
	defer b.Device().Close()
	for _, dtype := range []device.DType{device.Float32, device.Float64} {
		p := kernels.Program{Rule: kernels.AdamRule().Rule, Options: 4, DType: dtype}
		if dtype == device.Float32 {
			traffic[float32](t, b, p)
		} else {
			traffic[float64](t, b, p)
		}
	}
}

func traffic[F float32 | float64](t *testing.T, b kernels.Backend, p kernels.Program) {
	n := lengths
	if !testing.Short() {
		n = append([]int{long}, n...)
	}
	w, tensors := work[F](t, b, p, n, 1, rand.New(rand.NewPCG(9, 10)))
	u, err := b.CompileTraffic(w)
	require.NoError(t, err)
	s := b.Device().DefaultStream()
	require.NoError(t, u.Enqueue(s, kernels.Step{}))
	compare(t, s, p, tensors, "traffic")
	require.NoError(t, u.Close())
}
