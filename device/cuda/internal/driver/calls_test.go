//go:build cuda && cgo && linux

package driver_test

import (
	"testing"
	"unsafe"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCalls holds each of our own calls against the words that arrive, and against an error.
func TestCalls(t *testing.T) {
	host := unsafe.Pointer(new([64]byte))
	address := uint64(uintptr(host))
	for _, c := range []struct {
		entry driver.Entry
		call  func() error
		args  []uint64 // any stands for the address of a result
	}{
		{driver.CuMemHostAlloc, func() error { _, err := driver.MemHostAlloc(64, driver.HostWriteCombined); return err }, []uint64{any, 64, 4}},
		{driver.CuMemFreeHost, func() error { return driver.MemFreeHost(host) }, []uint64{address}},
		{driver.CuMemHostRegister, func() error { return driver.MemHostRegister(host, 64, driver.HostReadOnly) }, []uint64{address, 64, 8}},
		{driver.CuMemHostUnregister, func() error { return driver.MemHostUnregister(host) }, []uint64{address}},
		{driver.CuMemHostGetDevicePointer, func() error { _, err := driver.MemHostGetDevicePointer(host); return err }, []uint64{any, address, 0}},
		{driver.CuMemAllocAsync, func() error { _, err := driver.MemAllocAsync(64, 0x5000); return err }, []uint64{any, 64, 0x5000}},
		{driver.CuMemFreeAsync, func() error { return driver.MemFreeAsync(0x7000, 0x5000) }, []uint64{0x7000, 0x5000}},
		{driver.CuStreamBeginCapture, func() error { return driver.StreamBeginCapture(0x5000, driver.CaptureRelaxed) }, []uint64{0x5000, 2}},
		{driver.CuStreamIsCapturing, func() error { _, err := driver.StreamIsCapturing(0x5000); return err }, []uint64{0x5000, any}},
		{driver.CuThreadExchangeStreamCaptureMode, func() error { _, err := driver.ThreadExchangeCaptureMode(driver.CaptureRelaxed); return err }, []uint64{any}},
		{driver.CuStreamEndCapture, func() error { _, err := driver.StreamEndCapture(0x5000); return err }, []uint64{0x5000, any}},
		{driver.CuGraphInstantiateWithFlags, func() error { _, err := driver.Graph(0x6000).Instantiate(driver.GraphAutoFree); return err }, []uint64{any, 0x6000, 1}},
		{driver.CuGraphDestroy, driver.Graph(0x6000).Destroy, []uint64{0x6000}},
		{driver.CuGraphLaunch, func() error { return driver.GraphExec(0x6000).Launch(0x5000) }, []uint64{0x6000, 0x5000}},
		{driver.CuGraphExecDestroy, driver.GraphExec(0x6000).Destroy, []uint64{0x6000}},
		{driver.CuFuncSetAttribute, func() error { return driver.Function(0x8000).SetAttribute(driver.SharedCarveout, -1) }, []uint64{0x8000, 9, 1<<64 - 1}},
		{driver.CuGetErrorString, func() error { _, err := driver.ErrorInvalidPtx.Describe(); return err }, []uint64{218, any}},
		{driver.CuGetErrorName, func() error { _, err := driver.ErrorInvalidPtx.Name(); return err }, []uint64{218, any}},
	} {
		t.Run(c.entry.String(), func(t *testing.T) {
			for _, result := range []driver.Result{driver.Success, driver.ErrorIllegalAddress} {
				calls := record(t, result)
				err := c.call()
				require.Len(t, *calls, 1)
				got := (*calls)[0]
				require.Equal(t, c.entry, got.entry)
				require.Len(t, got.args, len(c.args))
				for i, want := range c.args {
					if want == any {
						require.NotZero(t, got.args[i], "argument %d", i)
						continue
					}
					require.Equal(t, want, got.args[i], "argument %d", i)
				}
				if result == driver.Success {
					require.NoError(t, err)
					continue
				}
				require.Equal(t, &driver.Error{Entry: c.entry, Result: result}, err)
				require.ErrorIs(t, err, result)
			}
		})
	}
}

const any = 0xA11

func TestCallResults(t *testing.T) {
	text := [...]byte{'h', 'i', 0}
	defer driver.SetHook(func(e driver.Entry, args []uint64) (driver.Result, bool) {
		switch e {
		case driver.CuMemHostAlloc, driver.CuMemHostGetDevicePointer, driver.CuMemAllocAsync, driver.CuGraphInstantiateWithFlags:
			*driver.Pointer[uint64](args[0]) = 0x7f0000001000
		case driver.CuStreamEndCapture:
			*driver.Pointer[uint64](args[1]) = 0x7f0000002000
		case driver.CuGetErrorString:
			*driver.Pointer[uint64](args[1]) = uint64(uintptr(unsafe.Pointer(&text[0])))
		}
		return driver.Success, true
	})()
	p, err := driver.MemHostAlloc(1, 0)
	require.NoError(t, err)
	require.EqualValues(t, 0x7f0000001000, uintptr(p))
	d, err := driver.MemHostGetDevicePointer(p)
	require.NoError(t, err)
	require.Equal(t, driver.DevicePtr(0x7f0000001000), d)
	d, err = driver.MemAllocAsync(1, 0)
	require.NoError(t, err)
	require.Equal(t, driver.DevicePtr(0x7f0000001000), d)
	g, err := driver.StreamEndCapture(0)
	require.NoError(t, err)
	require.Equal(t, driver.Graph(0x7f0000002000), g)
	e, err := g.Instantiate(0)
	require.NoError(t, err)
	require.Equal(t, driver.GraphExec(0x7f0000001000), e)
	s, err := driver.ErrorUnknown.Describe()
	require.NoError(t, err)
	require.Equal(t, "hi", s)
}

func TestLaunch(t *testing.T) {
	var words []uint64
	defer driver.SetHook(func(e driver.Entry, args []uint64) (driver.Result, bool) {
		assert.Equal(t, driver.CuLaunchKernel, e)
		assert.Equal(t, []uint64{0x8000, 1 << 31, 2, 3, 4, 5, 6, 7, 0x5000}, args[:9])
		assert.Zero(t, args[10])
		for _, p := range unsafe.Slice(driver.Pointer[*uint64](args[9]), cap(words)) {
			words = append(words, *p)
		}
		return driver.Success, true
	})()
	launch := func(parameters []uint64) error {
		words = make([]uint64, 0, len(parameters))
		return driver.Function(0x8000).Launch([3]uint32{1 << 31, 2, 3}, [3]uint32{4, 5, 6}, 7, 0x5000, parameters)
	}
	for _, n := range []int{0, 1, 3, driver.MaxParameters} {
		parameters := make([]uint64, n)
		for i := range parameters {
			parameters[i] = uint64(i)<<32 | 0xABCD
		}
		require.NoError(t, launch(parameters))
		require.Equal(t, parameters, words)
	}
	require.ErrorIs(t, launch(make([]uint64, driver.MaxParameters+1)), driver.ErrorInvalidValue)
}

func TestHostFunc(t *testing.T) {
	ran := 0
	f := driver.NewHostFunc(func() { ran++ })
	defer f.Release()
	defer driver.SetHook(func(e driver.Entry, args []uint64) (driver.Result, bool) {
		assert.Equal(t, driver.CuLaunchHostFunc, e)
		assert.EqualValues(t, 0x5000, args[0])
		driver.CallHostFunc(args[1], args[2])
		return driver.Success, true
	})()
	for range 3 {
		require.NoError(t, f.Launch(0x5000))
	}
	require.Equal(t, 3, ran)
}

func TestNames(t *testing.T) {
	require.Equal(t, "cuMemAlloc", driver.CuMemAlloc.String(), "without the suffix")
	require.Equal(t, "Entry(99999)", driver.Entry(99999).String())
	require.Equal(t, "CUDA_ERROR_INVALID_PTX", driver.ErrorInvalidPtx.Error())
	require.Equal(t, "CUresult(12345)", driver.Result(12345).String())
}
