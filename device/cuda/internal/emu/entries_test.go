//go:build cuda && cgo && linux

package emu_test

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ptx"
)

func TestWithoutContext(t *testing.T) {
	install(t, emu.Config{})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, err := cu.MemAlloc(4)
	require.Equal(t, cu.InvalidContext, err)
	require.Equal(t, cu.InvalidContext, cu.Device(0).ReleasePrimaryCtx(), "nobody has retained it")

	ctx, err := cu.Device(0).RetainPrimaryCtx()
	require.NoError(t, err)
	again, err := cu.Device(0).RetainPrimaryCtx()
	require.NoError(t, err)
	require.True(t, ctx == again)
	require.NoError(t, cu.SetCurrentContext(ctx))
	var other error
	var group sync.WaitGroup
	group.Go(func() {
		runtime.LockOSThread() // and end with the goroutine
		_, other = cu.MemAlloc(4)
	})
	group.Wait()
	require.Equal(t, cu.InvalidContext, other, "on another thread")

	_, err = cu.MemAlloc(4)
	require.NoError(t, err)
	require.NoError(t, cu.Device(0).ReleasePrimaryCtx())
	_, err = cu.MemAlloc(4)
	require.NoError(t, err, "still retained once")
	require.NoError(t, cu.Device(0).ReleasePrimaryCtx())
	_, err = cu.MemAlloc(4)
	require.Equal(t, cu.ContextIsDestroyed, err)
	require.Equal(t, cu.ContextIsDestroyed, cu.SetCurrentContext(ctx))
	require.NoError(t, cu.SetCurrentContext(cu.CUContext{}))

	next, err := cu.Device(0).RetainPrimaryCtx()
	require.NoError(t, err)
	require.True(t, ctx != next, "handles are used once")
	require.NoError(t, cu.Device(0).ReleasePrimaryCtx())
}

func TestDevices(t *testing.T) {
	install(t, emu.Config{Devices: 2, Processors: 7, MemoryBytes: 1 << 20})
	n, err := cu.NumDevices()
	require.NoError(t, err)
	require.Equal(t, 2, n)
	name, err := cu.Device(1).Name()
	require.NoError(t, err)
	require.Equal(t, "Emulated GPU", name)
	p, err := cu.Device(1).Attribute(cu.MultiprocessorCount)
	require.NoError(t, err)
	require.Equal(t, 7, p)
	major, _, err := cu.Device(1).ComputeCapability()
	require.NoError(t, err)
	require.Equal(t, 9, major)
	total, err := cu.Device(0).TotalMem()
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, total)
	require.Equal(t, emu.Version, cu.Version())
	for _, bad := range []cu.Device{2, -1} {
		_, err = bad.Name()
		require.Equal(t, cu.InvalidDevice, err)
		_, err = bad.RetainPrimaryCtx()
		require.Equal(t, cu.InvalidDevice, err)
	}
	s, err := driver.ErrorIllegalAddress.Describe()
	require.NoError(t, err)
	require.Equal(t, "an illegal memory access was encountered", s)
	s, err = driver.ErrorIllegalAddress.Name()
	require.NoError(t, err)
	require.Equal(t, "CUDA_ERROR_ILLEGAL_ADDRESS", s)
	_, err = driver.Result(12345).Name()
	require.ErrorIs(t, err, driver.ErrorInvalidValue)
}

func TestRefused(t *testing.T) {
	install(t, emu.Config{MemoryBytes: 1000})
	inContext(t, func() {
		p, err := cu.MemAlloc(600)
		require.NoError(t, err)
		_, err = cu.MemAlloc(500)
		require.Equal(t, cu.OutOfMemory, err)
		free, total, err := cu.MemInfo()
		require.NoError(t, err)
		require.Equal(t, [2]int64{400, 1000}, [2]int64{free, total})
		_, err = cu.MemAlloc(0)
		require.Equal(t, cu.InvalidValue, err)
		stream, err := cu.MakeStream(cu.NonBlocking)
		require.NoError(t, err)
		gone := stream
		require.NoError(t, stream.Destroy())
		event, err := cu.MakeEvent(cu.DefaultEvent)
		require.NoError(t, err)
		idle, err := cu.MakeEvent(cu.DefaultEvent)
		require.NoError(t, err)
		require.NoError(t, idle.Synchronize(), "never recorded")
		require.NoError(t, event.Record(cu.NoStream))
		_, pending := event.Elapsed(event)
		_, unrecorded := idle.Elapsed(event)
		var x [64]byte
		host := unsafe.Pointer(&x)
		require.NoError(t, driver.MemHostRegister(host, 64, 0))
		f := kernel(t, "ret;")
		grid := func(g, b [3]uint32, shared uint32) error { return f.Launch(g, b, shared, 0, []uint64{0, 0, 0}) }
		one := [3]uint32{1, 1, 1}
		mod, err := cu.LoadData(text("ret;"))
		require.NoError(t, err)
		_, missing := mod.Function("other")
		unloaded := mod
		require.NoError(t, mod.Unload())
		_, unknown := unloaded.Function("k")
		_, pool := driver.MemAllocAsync(4, 0)
		for _, c := range []struct {
			name string
			err  error
			want error
		}{
			{"free of what is not a start", cu.MemFree(p + 4), cu.InvalidValue},
			{"copy behind the end", cu.MemcpyHtoD(p+590, host, 11), cu.InvalidValue},
			{"copy to nowhere", cu.MemcpyDtoH(nil, p, 4), cu.InvalidValue},
			{"copy from behind the end", cu.MemcpyDtoD(p, p+599, 2), cu.InvalidValue},
			{"misaligned set", cu.MemsetD32(p+2, 0, 1), cu.InvalidValue},
			{"set behind the end", cu.MemsetD8(p, 0, 601), cu.InvalidValue},
			{"destroyed stream", gone.Synchronize(), cu.InvalidHandle},
			{"copy on a destroyed stream", cu.MemcpyDtoDAsync(p, p+300, 4, gone), cu.InvalidHandle},
			{"time of what is to come", pending, cu.NotReady},
			{"time of what was never recorded", unrecorded, cu.InvalidHandle},
			{"registered twice", driver.MemHostRegister(unsafe.Add(host, 8), 8, 0), driver.ErrorHostMemoryAlreadyRegistered},
			{"free of registered memory", driver.MemFreeHost(host), driver.ErrorInvalidValue},
			{"not registered", driver.MemHostUnregister(unsafe.Add(host, 8)), driver.ErrorHostMemoryNotRegistered},
			{"no blocks", grid([3]uint32{0, 1, 1}, one, 0), driver.ErrorInvalidValue},
			{"no threads", grid(one, [3]uint32{1, 0, 1}, 0), driver.ErrorInvalidValue},
			{"grid too wide", grid([3]uint32{1, 65536, 1}, one, 0), driver.ErrorInvalidValue},
			{"block too large for any kernel", grid(one, [3]uint32{512, 4, 1}, 0), driver.ErrorInvalidValue},
			{"block too large for this kernel", grid(one, [3]uint32{65, 1, 1}, 0), driver.ErrorLaunchOutOfResources},
			{"too much shared memory", grid(one, one, 48<<10+1), driver.ErrorInvalidValue},
			{"more shared memory than there is", f.SetAttribute(driver.MaxDynamicShared, 228<<10), driver.ErrorInvalidValue},
			{"no function", launch(0, 1, 1, 0), driver.ErrorInvalidHandle},
			{"another thing's handle", launch(driver.Function(handle(gone)), 1, 1, 0), driver.ErrorInvalidHandle},
			{"unknown kernel", missing, cu.NotFound},
			{"unloaded module", unknown, cu.InvalidHandle},
			{"not emulated", pool, driver.ErrorNotSupported},
		} {
			assert.ErrorIs(t, c.err, c.want, c.name)
		}
		require.NoError(t, f.SetAttribute(driver.MaxDynamicShared, 100<<10))
		require.NoError(t, grid(one, one, 100<<10))
		require.NoError(t, cu.Synchronize(), "nothing of that has done harm")
		require.NoError(t, driver.MemHostUnregister(host))
	})
}

// TestNullStream: it waits for blocking streams and they for it, as the legacy null stream does.
func TestNullStream(t *testing.T) {
	install(t, emu.Config{})
	inContext(t, func() {
		p, err := cu.MemAlloc(4)
		require.NoError(t, err)
		blocking, err := cu.MakeStream(cu.DefaultStream)
		require.NoError(t, err)
		free, err := cu.MakeStream(cu.NonBlocking)
		require.NoError(t, err)
		var x byte
		read := func(s cu.Stream) byte {
			require.NoError(t, cu.MemcpyDtoHAsync(unsafe.Pointer(&x), p, 1, s))
			require.NoError(t, s.Synchronize())
			return x
		}
		require.NoError(t, cu.MemsetD8Async(p, 1, 1, blocking))
		require.NoError(t, cu.MemcpyDtoH(unsafe.Pointer(&x), p, 1))
		require.EqualValues(t, 1, x)
		require.NoError(t, cu.MemsetD8(p, 2, 1))
		require.EqualValues(t, 2, read(blocking))
		require.NoError(t, cu.MemsetD8(p, 3, 1))
		require.EqualValues(t, 2, read(free))
		require.NoError(t, cu.MemsetD8Async(p, 4, 1, free))
		require.NoError(t, cu.MemcpyDtoH(unsafe.Pointer(&x), p, 1))
		require.EqualValues(t, 3, x)
		require.Equal(t, cu.NotReady, free.Query())
		require.NoError(t, free.Query())
		require.EqualValues(t, 4, read(free))
	})
}

func TestCompilerLog(t *testing.T) {
	install(t, emu.Config{})
	inContext(t, func() {
		bad := text("add.u32 %a, %i;\nfrob %a;")
		for _, size := range []int{1, 20, 1000} {
			log := []byte(strings.Repeat("?", size))
			_, err := cu.LoadDataEx(bad, &cu.JITErrorLogBuffer{Buffer: log})
			require.Equal(t, cu.InvalidPtx, err)
			want := "line 18: add.u32: takes 3 operands, not 2\nline 19: frob: unknown instruction"
			want = want[:min(len(want), size-1)]
			require.Equal(t, want+"\x00", string(log[:len(want)+1]))
		}
		_, err := cu.LoadData(bad)
		require.Equal(t, cu.InvalidPtx, err)
		_, err = cu.LoadDataEx(text("ret;"), &cu.JITErrorLogBuffer{Buffer: make([]byte, 10)}, &cu.JITTargetFromContext{})
		require.NoError(t, err)
	})
}

func TestOccupancy(t *testing.T) {
	install(t, emu.Config{})
	inContext(t, func() {
		mod, err := cu.LoadData(text("ret;"))
		require.NoError(t, err)
		f, err := mod.Function("k")
		require.NoError(t, err)
		for _, tt := range []struct {
			threads int
			shared  int64
			want    int
		}{{64, 0, 32}, {64, 100 << 10, 2}, {32, 1 << 20, 0}, {65, 0, 0}} { // the kernel takes 64 threads
			n, err := f.MaxActiveBlocksPerMultiProcessor(tt.threads, tt.shared)
			require.NoError(t, err)
			require.Equal(t, tt.want, n, "%+v", tt)
		}
		_, err = f.MaxActiveBlocksPerMultiProcessor(0, 0)
		require.Equal(t, cu.InvalidValue, err)
		mod, err = cu.LoadData(ptx.Norm(kernels.Norm()))
		require.NoError(t, err)
		f, err = mod.Function(ptx.NormPasses(kernels.Norm())[0].Sums)
		require.NoError(t, err)
		n, err := f.MaxActiveBlocksPerMultiProcessor(ptx.Block, 0)
		require.NoError(t, err)
		require.True(t, n > 0 && n < 8, "8 have as many threads as fit, but not as many registers: %d", n)
	})
}
