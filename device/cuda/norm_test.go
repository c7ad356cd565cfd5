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
)

// The tree over a tensor is that of kernels.SumTree over its own tiles' sums, also where these are more than a tile. What tiles add up other tests
// tell: an emulated GPU would take minutes for so many elements, so here sums are any numbers.
func TestTreesOfTensors(t *testing.T) {
	_, dev := emulate(t, emu.Config{Checks: ptxvm.AllChecks})
	const tile = kernels.NormTile
	elements := []int{5, tile, 0, 3*tile + 1, (tile + 133) * tile, 1, tile * tile, 129*tile - 4, 0, (2*tile+1)*tile - tile + 1}
	types := []device.DType{device.BFloat16, device.Float64}
	w := kernels.Work{Program: kernels.NormOfTensors()}
	var lengths []int // in tiles
	for i, n := range elements {
		dtype := types[0]
		if n < tile*tile/2 { // memory is allocated, and not looked at
			dtype = types[i%2]
		}
		g, err := dev.Alloc(dtype, n)
		require.NoError(t, err)
		sums, err := dev.Alloc(device.Float64, w.Program.SumWords())
		require.NoError(t, err)
		require.NoError(t, dev.DefaultStream().Zero(sums))
		w.Tensors = append(w.Tensors, kernels.Tensor{Planes: []*device.Buffer{g}, Sums: sums})
		lengths = append(lengths, (n+tile-1)/tile)
	}
	update, err := dev.newNorm(w)
	require.NoError(t, err)
	n := update.(*norm)
	s := dev.DefaultStream()
	q, err := dev.gpu.queue(s)
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, []int{len(n.trees[0]), len(n.trees[1])}, "levels")

	rng := rand.New(rand.NewPCG(6, 7))
	want := make([][2]float64, len(elements))
	for pass := range n.trees {
		x := make([]float64, n.sums[0].Len())
		for i := range x {
			x[i] = rng.ExpFloat64()
		}
		require.NoError(t, device.Upload(s, n.sums[0], x))
		var scale []uint64
		if pass > 0 {
			require.NoError(t, device.Upload(s, n.scale, []float64{0x1p-600}))
			scale = []uint64{n.scale.Addr()}
		}
		require.NoError(t, dev.gpu.do(func() error { return launchTrees(q, n.mod.passes[pass].tensors, n.trees[pass], scale...) }))
		require.NoError(t, s.Synchronize())
		got := make([]float64, len(x))
		require.NoError(t, device.Download(s, got, n.sums[0]))
		require.NoError(t, s.Synchronize())
		require.True(t, slices.Equal(x, got), "the tiles' sums stay: the tree of everything goes on from them")
		for i, count := range lengths {
			if pass == 0 || w.Tensors[i].Planes[0].DType() == device.Float64 {
				want[i][pass] = kernels.SumTree(slices.Clone(x[:count]))
			}
			x = x[count:]
		}
	}
	for i, tensor := range w.Tensors {
		got := make([]float64, w.Program.SumWords())
		require.NoError(t, device.Download(s, got, tensor.Sums))
		require.NoError(t, s.Synchronize())
		require.Equal(t, want[i][:], got, "tensor %d of %d tiles", i, lengths[i])
	}
	require.NoError(t, update.Close())
}
