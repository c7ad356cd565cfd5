//go:build cuda && cgo && linux

package driver_test

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"
)

// call is what a hook saw.
type call struct {
	entry driver.Entry
	args  []uint64
}

// record installs a hook that notes every call and answers with the result.
func record(t testing.TB, result driver.Result) *[]call {
	var calls []call
	t.Cleanup(driver.SetHook(func(e driver.Entry, args []uint64) (driver.Result, bool) {
		calls = append(calls, call{e, append([]uint64{}, args...)})
		return result, true
	}))
	return &calls
}

// failAt answers the n-th call of one entry, counted from 1, and passes all others.
func failAt(entry driver.Entry, n int64, result driver.Result) driver.Hook {
	var count atomic.Int64
	return func(e driver.Entry, _ []uint64) (driver.Result, bool) {
		return result, e == entry && count.Add(1) == n
	}
}

// TestHookArguments goes through cu's own functions: every width and sign of integer, floats, handles, none.
func TestHookArguments(t *testing.T) {
	calls := record(t, driver.Success)
	for _, c := range []struct {
		entry driver.Entry
		call  func() error
		args  []uint64
	}{
		{driver.CuCtxSynchronize, cu.Synchronize, []uint64{}},
		{driver.CuMemFree, func() error { return cu.MemFree(0x7f0000001000) }, []uint64{0x7f0000001000}},
		{driver.CuMemsetD8, func() error { return cu.MemsetD8(0x1000, 0xA5, 3) }, []uint64{0x1000, 0xA5, 3}},
		{driver.CuMemsetD2D16, func() error { return cu.MemsetD2D16(0x1000, 64, 0xBEEF, 2, 3) }, []uint64{0x1000, 64, 0xBEEF, 2, 3}},
		{driver.CuMemsetD32, func() error { return cu.MemsetD32(0x1000, math.MaxUint32, 1<<40) }, []uint64{0x1000, math.MaxUint32, 1 << 40}},
		{driver.CuMemcpy, func() error { return cu.Memcpy(1, 2, 3) }, []uint64{1, 2, 3}},
		{driver.CuDevicePrimaryCtxRelease, cu.Device(-1).ReleasePrimaryCtx, []uint64{math.MaxUint64}},
		{driver.CuCtxSetLimit, func() error { return cu.SetLimit(cu.MallocHeapSize, 1<<33) }, []uint64{2, 1 << 33}},
		{driver.CuStreamSynchronize, cu.Stream{}.Synchronize, []uint64{0}},
		{driver.CuTexRefSetMipmapLevelClamp, func() error { return cu.TexRef{}.SetMipmapLevelClamp(-0.5, 2) },
			[]uint64{0, uint64(math.Float32bits(-0.5)), uint64(math.Float32bits(2))}},
	} {
		t.Run(c.entry.String(), func(t *testing.T) {
			*calls = nil
			require.NoError(t, c.call())
			require.Equal(t, []call{{c.entry, c.args}}, *calls)
		})
	}
}

// TestHookAnswers has a hook write results through pointers, as an emulator does.
func TestHookAnswers(t *testing.T) {
	var received []byte
	defer driver.SetHook(func(e driver.Entry, args []uint64) (driver.Result, bool) {
		switch e {
		case driver.CuDeviceGetCount:
			*driver.Pointer[int32](args[0]) = 3
		case driver.CuMemAlloc:
			*driver.Pointer[uint64](args[0]) = 0x7f0000000000 + args[1]
		case driver.CuMemGetInfo:
			*driver.Pointer[uint64](args[0]), *driver.Pointer[uint64](args[1]) = 1<<34, 1<<35
		case driver.CuDeviceGetName:
			copy(unsafe.Slice(driver.Pointer[byte](args[0]), args[1]), "emulated\x00")
		case driver.CuMemcpyHtoD:
			received = append(received, unsafe.Slice(driver.Pointer[byte](args[1]), args[2])...)
		default:
			return driver.ErrorNotSupported, true
		}
		return driver.Success, true
	})()

	n, err := cu.NumDevices()
	require.NoError(t, err)
	require.Equal(t, 3, n)
	p, err := cu.MemAlloc(0x40)
	require.NoError(t, err)
	require.Equal(t, cu.DevicePtr(0x7f0000000040), p)
	free, total, err := cu.MemInfo()
	require.NoError(t, err)
	require.Equal(t, [2]int64{1 << 34, 1 << 35}, [2]int64{free, total})
	name, err := cu.Device(0).Name()
	require.NoError(t, err)
	require.Equal(t, "emulated", name)
	data := []byte{1, 2, 3}
	require.NoError(t, cu.MemcpyHtoD(p, unsafe.Pointer(&data[0]), 3))
	require.Equal(t, data, received)
	require.Equal(t, cu.NotSupported, cu.MemFree(p))
}

func TestHookOrder(t *testing.T) {
	answer := func(r driver.Result) func() {
		return driver.SetHook(func(driver.Entry, []uint64) (driver.Result, bool) { return r, true })
	}
	older := answer(driver.ErrorInvalidValue)
	newer := answer(driver.ErrorNotReady)
	pass := driver.SetHook(func(driver.Entry, []uint64) (driver.Result, bool) { return driver.ErrorUnknown, false })
	defer pass()

	require.Equal(t, cu.NotReady, cu.Synchronize(), "the newest that answers")
	newer()
	newer()
	require.Equal(t, cu.InvalidValue, cu.Synchronize(), "the older one, once the newer is removed")
	newest := answer(driver.ErrorDeinitialized)
	older()
	require.Equal(t, cu.Deinitialized, cu.Synchronize(), "removing an older one leaves the newest")
	newest()
}

func TestHookFailsNthCall(t *testing.T) {
	record(t, driver.Success)
	defer driver.SetHook(failAt(driver.CuMemFree, 3, driver.ErrorIllegalAddress))()
	for i := 1; i <= 5; i++ {
		require.NoError(t, cu.Synchronize())
		if err := cu.MemFree(0x1000); i == 3 {
			require.Equal(t, cu.IllegalAddress, err)
		} else {
			require.NoError(t, err, "call %d", i)
		}
	}
}

// TestHookConcurrency installs and removes hooks while others call; for -race.
func TestHookConcurrency(t *testing.T) {
	defer driver.SetHook(func(e driver.Entry, args []uint64) (driver.Result, bool) {
		if e == driver.CuMemAlloc {
			*driver.Pointer[uint64](args[0]) = args[1] * 2
		}
		return driver.Success, true
	})()
	var group sync.WaitGroup
	var seen atomic.Int64
	for g := range 8 {
		group.Go(func() {
			for i := range 500 {
				if g == 0 {
					driver.SetHook(func(driver.Entry, []uint64) (driver.Result, bool) { seen.Add(1); return 0, false })()
					continue
				}
				n := int64(g*1000 + i + 1)
				if p, err := cu.MemAlloc(n); err != nil || p != cu.DevicePtr(n*2) {
					t.Errorf("MemAlloc(%d) = %v, %v", n, p, err)
					return
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d calls met a hook that came and went", seen.Load())
}

// TestHookStackGrowth grows the caller's stack inside the hook, which moves it: results must reach where they belong.
func TestHookStackGrowth(t *testing.T) {
	var deep func(n int) byte
	deep = func(n int) byte {
		var room [1024]byte
		if n == 0 {
			return room[0]
		}
		return deep(n-1) + room[n%len(room)]
	}
	defer driver.SetHook(func(_ driver.Entry, args []uint64) (driver.Result, bool) {
		deep(2000)
		runtime.GC()
		*driver.Pointer[int32](args[0]) = 5
		return driver.Success, true
	})()
	done := make(chan int)
	go func() {
		n, _ := cu.NumDevices()
		done <- n
	}()
	require.Equal(t, 5, <-done)
}

func TestThreadLocal(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.Zero(t, driver.ThreadLocal(0))
	driver.SetThreadLocal(0, 1<<63|42)
	defer driver.SetThreadLocal(0, 0)
	driver.SetThreadLocal(driver.ThreadLocals-1, 7)
	defer driver.SetThreadLocal(driver.ThreadLocals-1, 0)

	other := make(chan uint64)
	go func() {
		runtime.LockOSThread() // a thread of its own, which ends with the goroutine
		other <- driver.ThreadLocal(0)
	}()
	require.Zero(t, <-other, "another thread")
	defer driver.SetHook(func(driver.Entry, []uint64) (driver.Result, bool) {
		return driver.Result(driver.ThreadLocal(0) & 0xff), true
	})()
	require.EqualValues(t, 42, driver.MemFreeHost(nil).(*driver.Error).Result, "inside a hook")
	require.EqualValues(t, 7, driver.ThreadLocal(driver.ThreadLocals-1))
	require.Panics(t, func() { driver.ThreadLocal(driver.ThreadLocals) })
	require.Panics(t, func() { driver.SetThreadLocal(-1, 0) })
}
