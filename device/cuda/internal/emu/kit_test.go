//go:build cuda && cgo && linux

package emu_test

import (
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
)

// install makes a driver for the test's time. At its end nothing may be left.
func install(t testing.TB, c emu.Config) *emu.Driver {
	d := emu.New(c)
	restore := d.Install()
	t.Cleanup(func() {
		restore()
		if !t.Failed() {
			require.Equal(t, emu.Live{}, d.Live(), "left at the end")
		}
	})
	return d
}

func open(t testing.TB) *cuda.Device {
	dev, err := cuda.Open(0)
	require.NoError(t, err)
	return dev
}

func alloc(t testing.TB, dev *device.Device, n int) *device.Buffer {
	b, err := dev.Alloc(device.Float32, n)
	require.NoError(t, err)
	return b
}

func upload(t testing.TB, s *device.Stream, b *device.Buffer, x []float32) {
	require.NoError(t, device.Upload(s, b, x))
	require.NoError(t, s.Synchronize())
}

func download(t testing.TB, s *device.Stream, b *device.Buffer) []float32 {
	x := make([]float32, b.Len())
	require.NoError(t, device.Download(s, x, b))
	require.NoError(t, s.Synchronize())
	return x
}

// inContext runs f with the first device's primary context current, as code that uses the driver itself does.
func inContext(t testing.TB, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, err := cu.Device(0).RetainPrimaryCtx()
	require.NoError(t, err)
	require.NoError(t, cu.SetCurrentContext(ctx))
	defer func() {
		require.NoError(t, cu.SetCurrentContext(cu.CUContext{}))
		require.NoError(t, cu.Device(0).ReleasePrimaryCtx())
	}()
	f()
}

// kernel loads a kernel of two pointers, x and y, and a number n, whose thread finds its index in %i, x in %x, y in %y and the
// address of its own word of x in %own.
func kernel(t testing.TB, body string) driver.Function {
	mod, err := cu.LoadData(text(body))
	require.NoError(t, err)
	f, err := mod.Function("k")
	require.NoError(t, err)
	return *(*driver.Function)(unsafe.Pointer(&f))
}

func text(body string) string {
	return `.version 7.0
.target sm_70
.address_size 64
.visible .entry k(.param .u64 x, .param .u64 y, .param .u32 n)
.maxntid 64, 1, 1
{
	.reg .pred %p, %q;
	.reg .b32 %i, %a, %b, %block, %size, %n;
	.reg .b64 %x, %y, %own, %at;
	ld.param.u64 %x, [x];
	ld.param.u64 %y, [y];
	ld.param.u32 %n, [n];
	mov.u32 %i, %tid.x;
	mov.u32 %block, %ctaid.x;
	mov.u32 %size, %ntid.x;
	mad.lo.u32 %i, %block, %size, %i;
	mad.wide.u32 %own, %i, 4, %x;
` + body + `
}
`
}

func launch(f driver.Function, blocks, threads uint32, s driver.Stream, args ...uint64) error {
	return f.Launch([3]uint32{blocks, 1, 1}, [3]uint32{threads, 1, 1}, 0, s, args)
}
