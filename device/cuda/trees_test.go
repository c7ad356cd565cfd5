//go:build cuda && cgo && linux

package cuda

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
)

// The trees over what a pass makes of a tensor's tiles are those of kernels.FillTree, also where these are more than a tile. As in TestTreesOfTensors,
// tiles are any numbers.
func TestTreesOfFills(t *testing.T) {
	_, dev := emulate(t, emu.Config{Checks: ptxvm.AllChecks})
	const tile = kernels.NormTile
	p, err := kernels.New(kernels.Spec{Rule: kerneltest.Staged(t)[1], Compute: device.Float32})
	require.NoError(t, err)
	counters, err := dev.Alloc(device.Float64, len(p.Counters))
	require.NoError(t, err)
	w := kernels.Work{Program: p, Counters: []*device.Buffer{counters}}
	s := dev.DefaultStream()
	for _, n := range []int{5, (tile + 133) * tile, 0, 3*tile + 1, 129*tile - 4, (tile+1)*tile + 1} {
		tensor := kernels.Tensor{}
		for range p.Planes {
			b, err := dev.Alloc(device.Float32, n) // and not looked at
			require.NoError(t, err)
			tensor.Planes = append(tensor.Planes, b)
		}
		tensor.Sums, err = dev.Alloc(device.Float64, p.SumWords())
		require.NoError(t, err)
		require.NoError(t, device.Upload(s, tensor.Sums, p.InitialSums(n, 0, 0)))
		w.Tensors = append(w.Tensors, tensor)
	}
	u, err := dev.compile(w, false)
	require.NoError(t, err)
	of := &u.passes[0]
	require.Equal(t, []int{2, 2}, []int{len(of.sums), len(of.maxima)}, "levels")
	rng := rand.New(rand.NewPCG(8, 9))
	x := make([]float64, of.update.folded.Len())
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	require.NoError(t, device.Upload(s, of.update.folded, x))
	require.NoError(t, s.Zero(u.inputs)) // of which the last is that the step is not skipped
	q, err := dev.gpu.queue(s)
	require.NoError(t, err)
	require.NoError(t, dev.gpu.do(func() error { return u.trees(0, q, u.inputs.Addr()) }))
	for _, fill := range p.Passes[0].Fills {
		for i, tensor := range w.Tensors {
			got := make([]float64, p.SumWords())
			require.NoError(t, device.Download(s, got, tensor.Sums))
			require.NoError(t, s.Synchronize())
			count := levels(tensor.Len())
			require.Equal(t, kernels.FillTree(fill.Kind, slices.Clone(x[:count])), got[fill.Word], "tensor %d, %s", i, fill.Kind)
			x = x[count:]
		}
	}
	require.NoError(t, u.Close())
}

// What rows and columns are filled with is kernels.FillTree of what chunks make of each, also where these are more than a tile, by the number of terms where it
// is a mean, rounded once.
func TestTreesOfLines(t *testing.T) {
	_, dev := emulate(t, emu.Config{Checks: ptxvm.AllChecks})
	const tile = kernels.NormTile
	rows := kernels.ColumnRows * (tile + 130)
	tried := map[rule.Domain]bool{}
	rng := rand.New(rand.NewPCG(10, 11))
	for _, r := range kerneltest.Matrices(t)[1:] {
		p, err := kernels.New(kernels.Spec{Rule: r, Options: r.MatrixOption(), Compute: device.Float32})
		require.NoError(t, err)
		pass := slices.IndexFunc(p.Passes, func(q kernels.Pass) bool {
			return slices.ContainsFunc(q.Fills, func(f kernels.Fill) bool { return f.Domain != rule.OfTensor })
		})
		f := p.Passes[pass].Fills[0]
		tried[f.Domain] = true
		counters, err := dev.Alloc(device.Float64, len(p.Counters))
		require.NoError(t, err)
		w := kernels.Work{Program: p, Counters: []*device.Buffer{counters}}
		s := dev.DefaultStream()
		for _, shape := range [][2]int{{rows, 1}, {3, 2}, {0, 0}, {70, 5}, {3, 130*tile + 5}, {1, 1}} {
			tensor := kernels.Tensor{Rows: shape[0]}
			for _, plane := range p.Planes {
				n := kernels.Numbers(plane.Domain, shape[0]*shape[1], tensor.Rows, tensor.Matrices)
				b, err := dev.Alloc(device.Float32, n) // and but for the filled one not looked at
				require.NoError(t, err)
				tensor.Planes = append(tensor.Planes, b)
			}
			if words := p.SumWords(); words > 0 {
				tensor.Sums, err = dev.Alloc(device.Float64, words)
				require.NoError(t, err)
			}
			w.Tensors = append(w.Tensors, tensor)
		}
		u, err := dev.compile(w, false)
		require.NoError(t, err)
		folded := u.passes[pass].update.folded
		if f.Domain == rule.OfColumns {
			folded = u.passes[pass].columns.folded
		}
		x := make([]float64, folded.Len())
		for i := range x {
			x[i] = rng.NormFloat64()
		}
		require.NoError(t, device.Upload(s, folded, x))
		require.NoError(t, s.Zero(u.inputs)) // of which the last is that the step is not skipped
		q, err := dev.gpu.queue(s)
		require.NoError(t, err)
		require.NoError(t, dev.gpu.do(func() error { return u.trees(pass, q, u.inputs.Addr()) }))
		for i, tensor := range w.Tensors {
			lines, terms := tensor.Rows, tensor.Columns()
			sums := levels(terms)
			if f.Domain == rule.OfColumns {
				lines, terms = terms, lines
				sums = (terms + kernels.ColumnRows - 1) / kernels.ColumnRows
			}
			got := make([]float32, lines)
			require.NoError(t, device.Download(s, got, tensor.Planes[f.Plane]))
			require.NoError(t, s.Synchronize())
			for k := range got {
				want := kernels.FillTree(f.Kind, slices.Clone(x[:sums]))
				if f.Kind == rule.FillMean {
					want /= float64(terms)
				}
				if float32(want) != got[k] {
					t.Fatalf("tensor %d: %s %d is %v, want %v", i, f.Domain, k, got[k], float32(want))
				}
				x = x[sums:]
			}
		}
		require.Empty(t, x)
		require.NoError(t, u.Close())
	}
	require.Len(t, tried, 2, "rows and columns")
}
