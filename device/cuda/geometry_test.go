//go:build cuda && cgo && linux

package cuda

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rules"
)

// launched is the largest grid that a step of so many elements has.
func launched(t *testing.T, dev *Device, n int) (blocks uint64) {
	sgd := rules.SGDRule().With(rules.SGDHyper{LR: 0.5}, rules.SGDOptions{})
	p, err := kernels.New(kernels.SpecOf(sgd, device.Float32))
	require.NoError(t, err)
	var tensor kernels.Tensor
	for range p.Planes {
		b, err := dev.Alloc(device.Float32, n)
		require.NoError(t, err)
		require.NoError(t, dev.DefaultStream().Zero(b))
		tensor.Planes = append(tensor.Planes, b)
		defer b.Close()
	}
	counters, err := dev.Alloc(device.Float64, len(sgd.Rule.Counters))
	require.NoError(t, err)
	defer counters.Close()
	u, err := dev.Compile(kernels.Work{Program: p, Tensors: []kernels.Tensor{tensor}, Counters: []*device.Buffer{counters}})
	require.NoError(t, err)
	defer u.Close()
	defer driver.SetHook(func(e driver.Entry, args []uint64) (driver.Result, bool) {
		if e == driver.CuLaunchKernel {
			blocks = max(blocks, args[1])
		}
		return 0, false
	})()
	require.NoError(t, u.Enqueue(dev.DefaultStream(), kernels.Step{Groups: []kernels.GroupStep{kernels.GroupStepOf(sgd, sgd.Hyper)}}))
	require.NoError(t, dev.DefaultStream().Synchronize())
	return blocks
}

// resident makes the driver say that so many blocks of any kernel fit a multiprocessor.
func resident(n int32) (restore func()) {
	return driver.SetHook(func(e driver.Entry, args []uint64) (driver.Result, bool) {
		if e != driver.CuOccupancyMaxActiveBlocksPerMultiprocessor {
			return 0, false
		}
		*driver.Pointer[int32](args[0]) = n
		return driver.Success, true
	})
}

// A pass has as many blocks as run at once, and no more than there are chunks.
func TestGrid(t *testing.T) {
	for _, tt := range []struct {
		geometry string
		resident int32
		n        int
		want     uint64
	}{
		{"", 5, 100 * minChunk, 15}, {"", 3, 100 * minChunk, 9}, {"", 0, 100 * minChunk, 3}, {"", 5, 2*minChunk + 1, 3}, {"", 5, 0, 1},
		{"6x0", 5, 100 * minChunk, 18}, {"16x0", 5, 100 * minChunk, 48}, {"0x400", 50, 4001, 11}, {"2x400", 50, 2000, 5}, {"2x400", 50, 8000, 6},
	} {
		t.Run("", func(t *testing.T) {
			t.Setenv(geometryVariable, tt.geometry)
			_, dev := emulate(t, emu.Config{Processors: 3})
			defer resident(tt.resident)()
			require.Equal(t, tt.want, launched(t, dev, tt.n), "%+v", tt)
		})
	}
}

func TestChunkLen(t *testing.T) {
	g := &gpu{processors: 132}
	for _, tt := range []struct{ total, resident, want int }{
		{0, 5, 2048}, {1 << 20, 5, 2048}, {25_557_032, 5, 2048}, {124_439_808, 5, 2048}, {1_235_814_400, 5, 16384}, {1_235_814_400, 16, 8192},
		{1 << 40, 5, 16384}, {1 << 30, 0, 16384},
	} {
		require.Equal(t, tt.want, g.chunkLen(tt.total, kernel{resident: tt.resident}), "%+v", tt)
	}
}

// What is set for measurements changes no bits, and what is no geometry opens nothing.
func TestGeometry(t *testing.T) {
	adam := rules.AdamRule().With(rules.AdamHyper{}, rules.AdamOptions{AMSGrad: true})
	for _, set := range []string{"1x12", "16x0", "0x4100", "0x4096", "0x0,cs,wt", "2x8,cg,", "0x0,,cs"} {
		t.Run(set, func(t *testing.T) {
			t.Setenv(geometryVariable, set)
			_, dev := emulate(t, emu.Config{Checks: ptxvm.AllChecks, Seed: 1})
			spec := kernels.SpecOf(adam, device.Float32)
			if strings.HasPrefix(set, "0x4096") { // a second vector for each thread also where one has 8 elements
				sgd := rules.SGDRule().With(rules.SGDHyper{LR: 0.5}, rules.SGDOptions{})
				spec = kernels.SpecOf(sgd, device.Float32)
				spec.Formats = "param=bf16 grad=f16"
			}
			p, err := kernels.New(spec)
			require.NoError(t, err)
			kerneltest.Program(t, dev, p)
			text := dev.gpu.modules[p.Spec].Text
			require.Equal(t, strings.Contains(set, "cs,wt"), strings.Contains(text, "ld.global.cs.v4") && strings.Contains(text, "st.global.wt.v4"))
		})
	}
	emulate(t, emu.Config{})
	for _, bad := range []string{"6", "x", "6x", "-1x0", "6x6", "1025x0", "0x-4", "0x4294967296", "a4x4", "4x4x4", "0x0,", "0x0,cs", "0x0,wt,", "0x0,,ca", "0x0,cs,cs,", "0x0,cs,cs ", ",cs,cs", "0,cs,cs"} {
		t.Setenv(geometryVariable, bad)
		_, err := Open(0)
		require.ErrorContains(t, err, "cuda:0: FUSESTEP_CUDA_GEOMETRY is \""+bad+"\": must be", bad)
	}
	t.Setenv(geometryVariable, "")
}

// A driver that cannot say how many blocks fit leaves nothing behind.
func TestNoOccupancy(t *testing.T) {
	d, dev := emulate(t, emu.Config{})
	before := d.Live()
	d.Fail(driver.CuOccupancyMaxActiveBlocksPerMultiprocessor, 2, driver.ErrorInvalidValue)
	_, err := dev.Compile(kernels.Work{Program: kernels.Norm()})
	require.ErrorIs(t, err, driver.ErrorInvalidValue)
	require.ErrorContains(t, err, "cuOccupancyMaxActiveBlocksPerMultiprocessor")
	require.Equal(t, before, d.Live())
}
