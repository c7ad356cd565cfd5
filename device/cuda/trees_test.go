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
		require.NoError(t, device.Upload(s, tensor.Sums, p.InitialSums(n)))
		w.Tensors = append(w.Tensors, tensor)
	}
	u, err := dev.compile(w, false)
	require.NoError(t, err)
	walk := &u.walks[0]
	require.Equal(t, []int{2, 2}, []int{len(walk.sums), len(walk.maxima)}, "levels")
	rng := rand.New(rand.NewPCG(8, 9))
	x := make([]float64, walk.folded.Len())
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	require.NoError(t, device.Upload(s, walk.folded, x))
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
