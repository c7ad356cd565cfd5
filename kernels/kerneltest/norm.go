package kerneltest

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// normCases are gradients by their lengths, of alternating types. Each is multiplied by scale.
var normCases = []struct {
	name    string
	lengths []int
	scale   float64
	long    bool // not with -short
}{
	{"nothing", nil, 1, false},
	{"empty", []int{0, 0}, 1, false},
	{"one", []int{1}, 1, false},
	{"every end of a row", ascending(1, kernels.NormLanes+6), 1, false},
	{"two tiles", []int{1, 1}, 1, false},
	{"three tiles", []int{1, 1, 1}, 1, false},
	{"zeros", []int{300, 300, 5}, 0, false},
	{"around a tile", []int{kernels.NormTile - 1, kernels.NormTile, kernels.NormTile + 1, 3}, 1e-3, false},
	{"many tiles", []int{40*kernels.NormTile + 5, 20 * kernels.NormTile}, 1, false},
	{"squares beyond float32", []int{1000, 33}, 1e30, false},
	{"more tiles than a tile", slices.Repeat([]int{1, 2}, kernels.NormTile/2+3), 1, false},
	{"tiles of tiles for more than one block", slices.Repeat([]int{1}, 8*kernels.NormTile+5), 1, true},
}

// ascending is each length for each type.
func ascending(lo, hi int) (x []int) {
	for n := lo; n < hi; n++ {
		x = append(x, n, n)
	}
	return x
}

// runNorm holds the norm to the tree of kernels.SumSquares and SumTree, over tensors of both types, and then a clipped step to
// the gradient scale that it gives.
func runNorm(t *testing.T, b kernels.Backend) {
	defer b.Device().Close()
	for i, tt := range normCases {
		if tt.long && testing.Short() {
			continue
		}
		t.Run(tt.name, func(t *testing.T) { normCase(t, b, i) })
	}
}

// Norm tries the norm, as Run does, or as it does with -short.
func Norm(t T, b kernels.Backend, short bool) {
	for i, tt := range normCases {
		if !tt.long || !short {
			normCase(t, b, i)
		}
	}
}

func normCase(t T, b kernels.Backend, i int) {
	tt := normCases[i]
	dev := b.Device()
	s := dev.DefaultStream()
	rng := rand.New(rand.NewPCG(5, uint64(i)))
	// One buffer of each type holds all its gradients. Behind each is a NaN, which no norm may see.
	var x32 []float32
	var x64 []float64
	var sums []float64
	var at []int
	for k, n := range tt.lengths {
		if k%2 == 0 {
			at = append(at, len(x32))
		} else {
			at = append(at, len(x64))
		}
		for range n {
			x := rng.NormFloat64() * tt.scale
			if k%2 == 0 {
				x32 = append(x32, float32(x))
			} else {
				x64 = append(x64, x)
			}
		}
		for lo := 0; lo < n; lo += kernels.NormTile {
			hi := min(lo+kernels.NormTile, n)
			if k%2 == 0 {
				sums = append(sums, kernels.SumSquares(x32[at[k]+lo:at[k]+hi]))
			} else {
				sums = append(sums, kernels.SumSquares(x64[at[k]+lo:at[k]+hi]))
			}
		}
		if k%2 == 0 {
			x32 = append(x32, float32(math.NaN()))
		} else {
			x64 = append(x64, math.NaN())
		}
	}
	whole32, err := dev.Alloc(device.Float32, len(x32))
	require.NoError(t, err)
	whole64, err := dev.Alloc(device.Float64, len(x64))
	require.NoError(t, err)
	upload(t, s, whole32, x32)
	upload(t, s, whole64, x64)
	var grads []*device.Buffer
	for k, n := range tt.lengths {
		g, err := []*device.Buffer{whole32, whole64}[k%2].Slice(at[k], at[k]+n)
		require.NoError(t, err)
		grads = append(grads, g)
	}
	norm, err := b.CompileNorm(grads)
	require.NoError(t, err)
	require.NoError(t, norm.Enqueue(s))
	got, want := download[float64](t, s, norm.Total())[0], math.Sqrt(kernels.SumTree(sums))
	require.Equal(t, math.Float64bits(want), math.Float64bits(got), "%s: norm is %v, want %v", tt.name, got, want)
	for _, maxNorm := range []float64{want / 3, want * 2} {
		clippedStep(t, b, norm, want, maxNorm)
	}
	require.NoError(t, norm.Close())
	require.NoError(t, whole32.Close())
	require.NoError(t, whole64.Close())
}

// clippedStep runs plain gradient descent on one tensor of its own with the norm.
func clippedStep(t T, b kernels.Backend, norm kernels.Norm, total, maxNorm float64) {
	sgd := kernels.SGDRule().With(kernels.SGDHyper{LR: 0.5}, kernels.SGDOptions{})
	p := kernels.Program{Rule: sgd.Rule, DType: device.Float32}
	w, _, tensors := work[float32](t, b, p, straight(100), 1, rand.New(rand.NewPCG(7, 8)))
	u, err := b.Compile(w)
	require.NoError(t, err)
	g := kernels.GroupStep{Hyper: sgd.Hyper, Scale: -1}
	s := b.Device().DefaultStream()
	require.NoError(t, u.Enqueue(s, kernels.Step{Groups: []kernels.GroupStep{g}, Norm: norm, MaxNorm: maxNorm}))
	expectStep(t, p, g, &total, maxNorm, p.Rule.InitialState(), tensors, 0)
	compare(t, s, p, tensors, "clipped step")
	require.NoError(t, u.Close())
}

// runTraffic checks that the traffic of an update leaves every byte as it is.
func runTraffic(t *testing.T, b kernels.Backend) {
	defer b.Device().Close()
	for _, dtype := range []device.DType{device.Float32, device.Float64} {
		p := kernels.Program{Rule: kernels.AdamRule().Rule, Options: 1, DType: dtype}
		if dtype == device.Float32 {
			traffic[float32](t, b, p)
		} else {
			traffic[float64](t, b, p)
		}
	}
}

func traffic[F float32 | float64](t T, b kernels.Backend, p kernels.Program) {
	n := lengths
	if !testing.Short() {
		n = append([]int{long}, n...)
	}
	w, _, tensors := work[F](t, b, p, straight(n...), 1, rand.New(rand.NewPCG(9, 10)))
	u, err := b.CompileTraffic(w)
	require.NoError(t, err)
	s := b.Device().DefaultStream()
	require.NoError(t, u.Enqueue(s, kernels.Step{}))
	compare(t, s, p, tensors, "traffic")
	require.NoError(t, u.Close())
}
