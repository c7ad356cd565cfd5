package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
)

// FillColumnTree is the tree over each column, for numbers of blocks within the lanes, beyond them and beyond a tile.
func TestColumnTree(t *testing.T) {
	const columns, stride = 3, 5
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 64, 127, 128, 129, 300, 4096, 4097, 9000} {
		for _, kind := range []rule.Fill{rule.FillSum, rule.FillMean, rule.FillSquares, rule.FillMax} {
			lines := make([]float64, n*stride)
			of := make([][]float64, columns)
			for i := range lines {
				lines[i] = rng.NormFloat64() * math.Ldexp(1, rng.IntN(60))
				if c := i % stride; c < columns {
					of[c] = append(of[c], lines[i])
				}
			}
			kernels.FillColumnTree(kind, lines, n, stride, columns)
			for c, x := range of {
				require.Equal(t, kernels.FillTree(kind, x), lines[c], "%d blocks, %v", n, kind)
			}
		}
	}
}

// A step of matrices allocates nothing, whether they are large or small and whatever runs it.
func TestMatrixAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector, sync.Pool drops what it is given at random")
	}
	defer func(old int) { smallBytes = old }(smallBytes)
	smallBytes = 20_000
	setting := rule.Setting{Rule: kerneltest.Matrices(t)[0], Hyper: []float64{0.1, 0.9}}
	p := newProgram(t, kernels.Spec{Rule: setting.Rule, Options: setting.Rule.MatrixOption(), Compute: device.Float32})
	require.True(t, p.Matrix())
	for _, implementation := range implementations() {
		d := NewThreads(2)
		defer d.Close()
		d.processor.choice = choice{implementation: implementation}
		w := kernels.Work{Program: p}
		alloc := func(x device.DType, n int) *device.Buffer {
			b, err := d.Alloc(x, n)
			require.NoError(t, err)
			return b
		}
		for _, of := range [][3]int{{3, 5, 1}, {200, 700, 1}, {0, 0, 1}, {65, 20, 1}, {300, 2500, 1}, {1800, 3, 600}, {60, 3, 20}} { // rows, columns and matrices
			x := kernels.Tensor{Rows: of[0], Matrices: of[2]}
			for _, plane := range p.Planes {
				n := of[0] * of[1]
				switch plane.Domain {
				case rule.OfRows:
					n = of[0]
				case rule.OfColumns:
					n = of[1] * of[2]
				}
				x.Planes = append(x.Planes, alloc(plane.DType, n))
			}
			x.Sums = newSums(t, d, p, x.Len(), x.Rows)
			w.Tensors = append(w.Tensors, x)
		}
		w.Counters = []*device.Buffer{alloc(device.Float64, len(p.Counters))}
		u, err := d.Compile(w)
		require.NoError(t, err)
		in := kernels.Step{Groups: []kernels.GroupStep{kernels.GroupStepOf(setting, setting.Hyper)}}
		step := func() {
			require.NoError(t, u.Enqueue(d.DefaultStream(), in))
			require.NoError(t, d.DefaultStream().Synchronize())
		}
		least := testing.AllocsPerRun(20, step)
		for i := 0; i < 10 && least > 0; i++ { // a garbage collection empties a sync.Pool
			least = min(least, testing.AllocsPerRun(20, step))
		}
		require.Zero(t, least, implementation.name)
	}
}
