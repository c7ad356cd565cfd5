//go:build cuda && cgo && linux

package emu_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/optim"
)

// work is what a training program does, once. It stops at the first error, closes everything and returns all errors.
func work(t *testing.T) (err error) {
	do := func(f func() error) {
		if err == nil {
			err = f()
		}
	}
	finally := func(f func() error) { err = errors.Join(err, f()) }
	var dev *cuda.Device
	do(func() (e error) { dev, e = cuda.Open(0); return e })
	if err != nil {
		return err
	}
	defer func() { finally(dev.Close) }()
	do(func() error { _, e := dev.Model(); return e })
	do(func() error { _, _, e := dev.MemInfo(); return e })

	var s *device.Stream
	do(func() (e error) { s, e = dev.NewStream(); return e })
	if s != nil {
		defer func() { finally(s.Close) }()
	}
	var start, end *device.Event
	for _, event := range []**device.Event{&start, &end} {
		do(func() (e error) { *event, e = dev.NewEvent(); return e })
		if *event != nil {
			defer func() { finally((*event).Close) }()
		}
	}
	var value, grad, copied *device.Buffer
	for _, b := range []**device.Buffer{&value, &grad, &copied} {
		do(func() (e error) { *b, e = dev.Alloc(device.Float32, 100); return e })
		if *b != nil {
			defer func() { finally((*b).Close) }()
		}
	}
	x := make([]float32, 100)
	for i := range x {
		x[i] = float32(i) - 50
	}
	do(func() error { return device.Upload(s, value, x) })
	do(func() error { return s.Copy(copied, value) })
	do(func() error { return s.Zero(grad) })
	do(func() error { return device.Upload(s, grad, x) })
	do(s.Synchronize)

	var opt *optim.Optimizer
	do(func() (e error) {
		opt, e = optim.New(dev, optim.DefaultAdamW(), []optim.Param{{Value: value, Grad: grad}})
		return e
	})
	if opt != nil {
		defer func() { finally(opt.Close) }()
	}
	do(func() error { return opt.SetClipNorm(1) })
	do(func() error { return s.Record(start) })
	step := opt.Step
	for i := range 4 {
		if i == 2 {
			var captured *optim.Captured
			do(func() (e error) { captured, e = opt.Capture(s); return e })
			if captured != nil {
				defer func() { finally(captured.Close) }()
			}
			step = captured.Replay
		}
		before := make([]float32, 100)
		do(func() error { return device.Download(s, before, value) })
		do(s.Synchronize)
		do(func() error {
			e := step(s)
			if e != nil {
				require.Equal(t, before, download(t, s, value), "after a step that failed: %v", e)
			}
			return e
		})
	}
	do(func() error { return s.Record(end) })
	do(func() error { return dev.DefaultStream().Wait(end) })
	do(func() error { _, e := end.Done(); return e })
	do(end.Synchronize)
	do(func() error { _, e := end.Since(start); return e })
	do(func() error { _, e := opt.GradNorm(s); return e })
	do(func() error {
		if e := device.Download(s, x, value); e != nil {
			return e
		}
		return s.Synchronize()
	})
	return err
}

// TestInjectedFaults fails each call that the work makes, one by one (with -short the first three of each entry), and looks for what is
// left when somebody else keeps the primary context, so that nothing goes away with it.
func TestInjectedFaults(t *testing.T) {
	d := emu.New(emu.Config{})
	restore := d.Install()
	require.NoError(t, work(t))
	restore()
	calls := d.Calls()
	require.Greater(t, len(calls), 25)
	var entries []driver.Entry
	for e := range calls {
		entries = append(entries, e)
	}
	slices.Sort(entries)
	for _, e := range entries {
		last := calls[e]
		if testing.Short() {
			last = min(last, 3)
		}
		for n := 1; n <= last; n++ {
			t.Run(fmt.Sprintf("%v %d", e, n), func(t *testing.T) { injectFault(t, e, n) })
		}
	}
}

func injectFault(t *testing.T, e driver.Entry, n int) {
	d := emu.New(emu.Config{})
	defer d.Install()()
	_, err := cu.Device(0).RetainPrimaryCtx()
	require.NoError(t, err)
	d.Fail(e, n, driver.ErrorUnknown)
	err = work(t)
	left := d.Live()
	require.NoError(t, cu.Device(0).ReleasePrimaryCtx())

	var failed *driver.Error
	if errors.As(err, &failed) {
		require.Equal(t, &driver.Error{Entry: e, Result: driver.ErrorUnknown}, failed)
		require.ErrorContains(t, err, fmt.Sprintf("cuda: %v: CUDA_ERROR_UNKNOWN (999)", e))
	} else {
		require.NoError(t, err)
		// Giving the thread its own context back, and what captures it minds.
		require.Contains(t, []driver.Entry{driver.CuCtxSetCurrent, driver.CuThreadExchangeStreamCaptureMode}, e, "no error")
	}
	if e == driver.CuDevicePrimaryCtxRelease {
		require.Equal(t, emu.Live{Contexts: 1}, d.Live(), "nobody can give it back")
		return
	}
	require.Equal(t, emu.Live{}, d.Live(), "after all")
	left.Contexts--
	left.Bytes = 0
	things := left.Modules + left.Streams + left.Events + left.Graphs + left.Allocations + left.Host
	if ends[e] && things == 1 {
		return // the one that could not be ended, in the device's Close
	}
	require.Equal(t, emu.Live{}, left, "left by the device's Close")
}

// ends are the entries that give something back, or can be in the way of that.
var ends = map[driver.Entry]bool{driver.CuMemFree: true, driver.CuMemFreeHost: true, driver.CuStreamDestroy: true,
	driver.CuEventDestroy: true, driver.CuGraphDestroy: true, driver.CuGraphExecDestroy: true, driver.CuModuleUnload: true, driver.CuCtxSetCurrent: true, driver.CuCtxGetCurrent: true}

func TestOutOfMemory(t *testing.T) {
	d := install(t, emu.Config{})
	dev := open(t)
	defer dev.Close()
	d.Fail(driver.CuMemAlloc, 1, driver.ErrorOutOfMemory)
	_, err := dev.Alloc(device.Float32, 10)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.ErrorIs(t, err, driver.ErrorOutOfMemory)
	require.EqualError(t, err, "device cuda:0: alloc of 10 float32: 40 bytes: out of memory: cuda: cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (2)")
	_, err = dev.Alloc(device.Float32, 10)
	require.NoError(t, err)
}
