//go:build cuda && cgo && linux

package emu_test

import (
	"math"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
)

// Host code that forgets a synchronisation gets the wrong bytes here every time.

var fresh = math.Float32frombits(0xA5A5A5A5) // what nobody has written

func TestDownloadWithoutSynchronize(t *testing.T) {
	install(t, emu.Config{})
	dev := open(t)
	defer dev.Close()
	s := dev.DefaultStream()
	b := alloc(t, dev.Device(), 4)
	upload(t, s, b, []float32{1, 2, 3, 4})
	got := []float32{-1, -1, -1, -1}
	require.NoError(t, device.Download(s, got, b))
	require.Equal(t, []float32{-1, -1, -1, -1}, got, "before Synchronize")
	require.NoError(t, s.Synchronize())
	require.Equal(t, []float32{1, 2, 3, 4}, got)
}

func TestStreamsWithoutEvent(t *testing.T) {
	install(t, emu.Config{})
	dev := open(t)
	defer dev.Close()
	a := dev.DefaultStream()
	b, err := dev.NewStream()
	require.NoError(t, err)
	x, y := alloc(t, dev.Device(), 2), alloc(t, dev.Device(), 2)
	require.NoError(t, device.Upload(a, x, []float32{1, 2}))
	require.NoError(t, b.Copy(y, x))
	got := download(t, b, y)
	require.Equal(t, math.Float32bits(fresh), math.Float32bits(got[0]), "b has not waited for a")

	e, err := dev.NewEvent()
	require.NoError(t, err)
	require.NoError(t, a.Record(e))
	require.NoError(t, b.Wait(e))
	require.NoError(t, b.Copy(y, x))
	require.Equal(t, []float32{1, 2}, download(t, b, y))
}

// TestKernelsWithoutEvent is the same between kernels.
func TestKernelsWithoutEvent(t *testing.T) {
	install(t, emu.Config{})
	inContext(t, func() {
		write := kernel(t, "st.global.u32 [%own], %i;")
		move := kernel(t, "ld.global.u32 %a, [%own];\nmad.wide.u32 %at, %i, 4, %y;\nst.global.u32 [%at], %a;")
		x, err := cu.MemAlloc(16)
		require.NoError(t, err)
		y, err := cu.MemAlloc(16)
		require.NoError(t, err)
		a, err := cu.MakeStream(cu.NonBlocking)
		require.NoError(t, err)
		b, err := cu.MakeStream(cu.NonBlocking)
		require.NoError(t, err)
		read := func() (words [4]uint32) {
			require.NoError(t, cu.MemcpyDtoHAsync(unsafe.Pointer(&words), y, 16, b))
			require.NoError(t, b.Synchronize())
			return words
		}
		require.NoError(t, launch(write, 1, 4, handle(a), uint64(x), uint64(y), 4))
		require.NoError(t, launch(move, 1, 4, handle(b), uint64(x), uint64(y), 4))
		require.Equal(t, [4]uint32{0xA5A5A5A5, 0xA5A5A5A5, 0xA5A5A5A5, 0xA5A5A5A5}, read())

		e, err := cu.MakeEvent(cu.DefaultEvent)
		require.NoError(t, err)
		require.NoError(t, e.Record(a))
		require.NoError(t, b.Wait(e, 0))
		require.NoError(t, launch(move, 1, 4, handle(b), uint64(x), uint64(y), 4))
		require.Equal(t, [4]uint32{0, 1, 2, 3}, read())
	})
}

func handle(s cu.Stream) driver.Stream { return *(*driver.Stream)(unsafe.Pointer(&s)) }

// TestHostMemory: pinned memory is read when the copy runs, other memory at the call.
func TestHostMemory(t *testing.T) {
	install(t, emu.Config{})
	inContext(t, func() {
		s, err := cu.MakeStream(cu.NonBlocking)
		require.NoError(t, err)
		x, err := cu.MemAlloc(8)
		require.NoError(t, err)
		var got uint32
		p, err := driver.MemHostAlloc(4, driver.HostPortable)
		require.NoError(t, err)
		pinned, other := (*uint32)(p), new(uint32)
		require.Equal(t, uint32(0xA5A5A5A5), *pinned)
		registered := new([16]uint32)
		require.NoError(t, driver.MemHostRegister(unsafe.Pointer(registered), 64, 0))
		for _, c := range []struct {
			name string
			host *uint32
			want uint32
		}{{"pinned", pinned, 2}, {"registered", &registered[3], 2}, {"other", other, 1}} {
			*c.host = 1
			require.NoError(t, cu.MemcpyHtoDAsync(x, unsafe.Pointer(c.host), 4, s))
			*c.host = 2
			require.NoError(t, cu.MemcpyDtoHAsync(unsafe.Pointer(&got), x, 4, s))
			require.NoError(t, s.Synchronize())
			require.Equal(t, c.want, got, c.name)
		}
		require.NoError(t, driver.MemHostUnregister(unsafe.Pointer(registered)))

		require.NoError(t, cu.MemcpyHtoDAsync(x, p, 4, s))
		require.NoError(t, driver.MemFreeHost(p))
		require.Equal(t, cu.IllegalAddress, s.Synchronize(), "a copy from memory that was freed before it ran")
	})
}

// TestPolling: nobody waits, and yet there is an end to it.
func TestPolling(t *testing.T) {
	install(t, emu.Config{})
	dev := open(t)
	defer dev.Close()
	a := dev.DefaultStream()
	b, err := dev.NewStream()
	require.NoError(t, err)
	x := alloc(t, dev.Device(), 1)
	first, err := dev.NewEvent()
	require.NoError(t, err)
	second, err := dev.NewEvent()
	require.NoError(t, err)
	require.NoError(t, a.Zero(x))
	require.NoError(t, a.Record(first))
	require.NoError(t, b.Wait(first))
	require.NoError(t, b.Zero(x))
	require.NoError(t, b.Record(second))
	polls := 0
	for done := false; !done; polls++ {
		done, err = second.Done()
		require.NoError(t, err)
	}
	require.Equal(t, 6, polls, "one operation each, and then the answer")
	since, err := second.Since(first)
	require.NoError(t, err)
	require.True(t, since >= 0 && since < time.Minute, "%v", since)
}
