//go:build cuda && cgo && linux

package emu_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/kernels"
)

// TestNormLoads, M5: the norm loads each byte once, 16 at a time where a gradient is aligned. A thread whose last four rows are not whole loads
// those an element at a time.
func TestNormLoads(t *testing.T) {
	var a accesses
	single := 0
	install(t, emu.Config{Checks: ptxvm.AllChecks, Trace: func(kernel string, addr, bytes uint64, write bool) {
		a.note(kernel, addr, bytes, write)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.at(addr) != nil && strings.HasSuffix(kernel, a.suffix) && bytes != 16 {
			single += int(bytes)
		}
	}})
	dev := open(t)
	s := dev.DefaultStream()
	for dtype, kernel := range map[device.DType]string{device.Float32: "norm_squares_f32", device.Float64: "norm_squares_f64",
		device.BFloat16: "norm_squares_bf16", device.Float16: "norm_squares_f16"} {
		lanes := max(16/dtype.Size(), 4) // of a thread
		for _, tt := range []struct{ offset, n, single int }{
			{0, 2 * kernels.NormTile, 0}, {16, 3 * kernels.NormTile, 0},
			{0, kernels.NormTile + 4*kernels.NormLanes, 0},
			{0, kernels.NormTile - 1, 3*lanes + lanes - 1},
			{1, 2 * kernels.NormTile, 2 * kernels.NormTile}, {3, 130, 130}, {0, 1, 1},
		} {
			whole, err := dev.Alloc(dtype, tt.offset+tt.n)
			require.NoError(t, err)
			require.NoError(t, s.Zero(whole))
			total, err := kernels.NewControl(dev.Device())
			require.NoError(t, err)
			b, err := whole.Slice(tt.offset, tt.offset+tt.n)
			require.NoError(t, err)
			norm, err := dev.Compile(kernels.Work{Program: kernels.Norm(), Tensors: []kernels.Tensor{{Planes: []*device.Buffer{b}}}})
			require.NoError(t, err)
			a.begin(kernel, []*device.Buffer{b})
			single = 0
			require.NoError(t, norm.Enqueue(s, kernels.Step{Control: total}))
			require.NoError(t, s.Synchronize())
			loads, _ := a.of(b)
			require.True(t, each(loads, 1), "%s: %+v", dtype, tt)
			require.Equal(t, tt.single*dtype.Size(), single, "%s: %+v: bytes not loaded 16 at a time", dtype, tt)
			require.NoError(t, norm.Close())
			require.NoError(t, total.Close())
			require.NoError(t, whole.Close())
		}
	}
	require.NoError(t, dev.Close())
}
