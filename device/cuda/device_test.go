//go:build cuda && cgo && linux

package cuda

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ptx"
)

// The device as a whole is tested in package emu, which holds it to devicetest and kerneltest.

var (
	_ kernels.Backend    = (*Device)(nil)
	_ device.Capturer    = (*gpu)(nil)
	_ kernels.Capturable = (*update)(nil)
	_ kernels.Capturable = (*norm)(nil)
)

func emulate(t *testing.T, c emu.Config) (*emu.Driver, *Device) {
	d := emu.New(c)
	t.Cleanup(d.Install())
	dev, err := Open(0)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, dev.Close())
		require.Equal(t, emu.Live{}, d.Live())
	})
	return d, dev
}

func TestNoDriver(t *testing.T) {
	if driver.LoadError() == nil {
		t.Skip("this machine has a driver")
	}
	_, err := Open(0)
	require.ErrorIs(t, err, device.ErrUnavailable)
	require.Regexp(t, `^cuda:0: unavailable: NVIDIA's driver library: .+$`, err.Error())
	require.NotContains(t, err.Error(), "\n")
	_, err = Count()
	require.ErrorIs(t, err, device.ErrUnavailable)
}

func TestNoSuchDevice(t *testing.T) {
	emulate(t, emu.Config{Devices: 2})
	n, err := Count()
	require.NoError(t, err)
	require.Equal(t, 2, n)
	for _, ordinal := range []int{-1, 2} {
		_, err := Open(ordinal)
		require.ErrorIs(t, err, device.ErrUnavailable)
		require.ErrorContains(t, err, "the machine has 2 CUDA devices")
	}
	dev, err := Open(1)
	require.NoError(t, err)
	require.Equal(t, "cuda:1", dev.Device().Name())
	model, err := dev.Model()
	require.NoError(t, err)
	require.Equal(t, "Emulated GPU", model)
	require.NoError(t, dev.Close())
}

func TestCompilerLog(t *testing.T) {
	_, dev := emulate(t, emu.Config{})
	bad := strings.Replace(ptx.Norm(kernels.Norm()), "add.rn.f64", "add.rz.f64", 1)
	line := 1 + strings.Count(bad[:strings.Index(bad, "add.rz.f64")], "\n")
	_, err := dev.gpu.load(bad, nil)
	require.ErrorIs(t, err, driver.ErrorInvalidPtx)
	require.Regexp(t, `^cuda: cuModuleLoadDataEx: CUDA_ERROR_INVALID_PTX \(218\): line \d+: .*add\.rz`, err.Error())
	require.ErrorContains(t, err, fmt.Sprintf("line %d: ", line))

	var f kernel
	_, err = dev.gpu.load(ptx.Norm(kernels.Norm()), map[string]*kernel{"other": &f})
	require.EqualError(t, err, "other: cuda: cuModuleGetFunction: CUDA_ERROR_NOT_FOUND (500)")
}

// TestOthersContext: a thread that uses CUDA itself has its own context again after each call.
func TestOthersContext(t *testing.T) {
	_, dev := emulate(t, emu.Config{Devices: 2})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := cu.Device(1).RetainPrimaryCtx()
	require.NoError(t, err)
	for _, c := range []cu.CUContext{own, {}, dev.gpu.ctx} {
		require.NoError(t, cu.SetCurrentContext(c))
		require.NoError(t, dev.DefaultStream().Synchronize())
		_, err = dev.Alloc(device.Float32, 10)
		require.NoError(t, err)
		now, err := cu.CurrentContext()
		require.NoError(t, err)
		require.True(t, now == c)
	}
	require.NoError(t, cu.SetCurrentContext(cu.CUContext{}))
	require.NoError(t, cu.Device(1).ReleasePrimaryCtx())
}

// TestWrap uses memory and a stream that somebody else made, and leaves them to him.
func TestWrap(t *testing.T) {
	d, dev := emulate(t, emu.Config{})
	var at cu.DevicePtr
	var stream cu.Stream
	require.NoError(t, dev.gpu.do(func() (err error) {
		if at, err = cu.MemAlloc(40); err == nil {
			stream, err = cu.MakeStream(cu.NonBlocking)
		}
		return err
	}))
	before := d.Live()
	b, err := Wrap(dev, device.Float32, 10, uint64(at))
	require.NoError(t, err)
	s := WrapStream(dev, *(*uintptr)(unsafe.Pointer(&stream)))
	in, out := []float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, make([]float32, 10)
	require.NoError(t, device.Upload(s, b, in))
	require.NoError(t, device.Download(s, out, b))
	require.NoError(t, s.Synchronize())
	require.Equal(t, in, out)
	require.NoError(t, b.Close())
	require.NoError(t, s.Close())
	require.Equal(t, before, d.Live())
	require.NoError(t, dev.gpu.do(func() error {
		if err := stream.Destroy(); err != nil {
			return err
		}
		return cu.MemFree(at)
	}))
}

// TestHostMemoryIsKept: a second wait for a stream, which ends after the first, does not let go of memory that came in between.
func TestHostMemoryIsKept(t *testing.T) {
	_, dev := emulate(t, emu.Config{})
	q := dev.DefaultStream().Queue().(*queue)
	b, err := dev.Alloc(device.Float32, 1)
	require.NoError(t, err)
	kept := func() int { return len(q.host) }
	x := make([]float32, 1)
	require.NoError(t, device.Download(dev.DefaultStream(), x, b))
	require.Equal(t, 1, kept())
	restore := driver.SetHook(func(e driver.Entry, _ []uint64) (driver.Result, bool) {
		if e == driver.CuStreamSynchronize && kept() == 1 { // the other, before this one reaches the driver
			q.released, q.host = q.released+1, nil
			q.keep(make([]byte, 4))
		}
		return 0, false
	})
	defer restore()
	require.NoError(t, q.Synchronize())
	require.Equal(t, 1, kept())
}

// TestCloseBesideFree: freeing waits for all streams, also for those that are just being closed.
func TestCloseBesideFree(t *testing.T) {
	_, dev := emulate(t, emu.Config{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 100 {
				s, err := dev.NewStream()
				if assert.NoError(t, err) {
					assert.NoError(t, s.Close())
				}
			}
		})
		group.Go(func() {
			for range 100 {
				b, err := dev.Alloc(device.Float32, 10)
				if assert.NoError(t, err) {
					assert.NoError(t, b.Close())
				}
			}
		})
	}
	group.Wait()
}

// TestCloseGivesBack: what nobody has closed goes with the device, also where somebody else keeps the context.
func TestCloseGivesBack(t *testing.T) {
	d := emu.New(emu.Config{})
	defer d.Install()()
	_, err := cu.Device(0).RetainPrimaryCtx()
	require.NoError(t, err)
	dev, err := Open(0)
	require.NoError(t, err)
	_, err = dev.NewStream()
	require.NoError(t, err)
	_, err = dev.NewEvent()
	require.NoError(t, err)
	b, err := dev.Alloc(device.Float64, 10)
	require.NoError(t, err)
	_, err = dev.Compile(kernels.Work{Program: kernels.Norm(), Tensors: []kernels.Tensor{{Planes: []*device.Buffer{b}}}})
	require.NoError(t, err)
	_, err = dev.gpu.staging(10)
	require.NoError(t, err)
	_, err = dev.Capture(func(*device.Stream) error { return nil })
	require.NoError(t, err)
	require.NoError(t, dev.Close())
	require.Equal(t, emu.Live{Contexts: 1}, d.Live())
	require.NoError(t, cu.Device(0).ReleasePrimaryCtx())
	require.Equal(t, emu.Live{}, d.Live())
}
