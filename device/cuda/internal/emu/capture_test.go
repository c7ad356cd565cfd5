//go:build cuda && cgo && linux

package emu_test

import (
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
)

func newStream(t *testing.T, flags cu.StreamFlags) cu.Stream {
	s, err := cu.MakeStream(flags)
	require.NoError(t, err)
	return s
}

// endCapture makes what can be launched of what a stream has recorded.
func endCapture(t *testing.T, s cu.Stream) driver.GraphExec {
	g, err := driver.StreamEndCapture(handle(s))
	require.NoError(t, err)
	x, err := g.Instantiate(0)
	require.NoError(t, err)
	require.NoError(t, g.Destroy())
	return x
}

// TestGraph: recording runs nothing. A launch runs all of it in order, with the kernels' parameters as they were, and reads the host's
// memory as it is then.
func TestGraph(t *testing.T) {
	d := install(t, emu.Config{Seed: 1})
	inContext(t, func() {
		s := newStream(t, cu.NonBlocking)
		x, err := cu.MemAlloc(16)
		require.NoError(t, err)
		y, err := cu.MemAlloc(16)
		require.NoError(t, err)
		p, err := driver.MemHostAlloc(4, driver.HostPortable)
		require.NoError(t, err)
		host := (*uint32)(p)
		plus := kernel(t, "ld.global.u32 %a, [%own];\nadd.u32 %a, %a, %n;\nmad.wide.u32 %at, %i, 4, %y;\nst.global.u32 [%at], %a;")

		require.NoError(t, cu.MemsetD32Async(y, 7, 4, s))
		require.NoError(t, driver.StreamBeginCapture(handle(s), driver.CaptureThreadLocal))
		*host = 1
		require.NoError(t, cu.MemsetD32Async(x, 10, 4, s))
		require.NoError(t, cu.MemcpyHtoDAsync(x+4, p, 4, s))
		args := []uint64{uint64(x), uint64(y), 100}
		require.NoError(t, plus.Launch([3]uint32{1, 1, 1}, [3]uint32{4, 1, 1}, 0, handle(s), args))
		args[2] = 200
		e := event(t)
		require.NoError(t, e.Record(s))
		require.NoError(t, s.Wait(e, 0), "for itself")
		exec := endCapture(t, s)
		require.Equal(t, 1, d.Live().Graphs)

		read := func() (words [4]uint32) {
			require.NoError(t, cu.MemcpyDtoHAsync(unsafe.Pointer(&words), y, 16, s))
			require.NoError(t, s.Synchronize())
			return words
		}
		require.Equal(t, [4]uint32{7, 7, 7, 7}, read(), "recorded, and not run")
		for _, *host = range []uint32{2, 3} {
			require.NoError(t, exec.Launch(handle(s)))
			require.Equal(t, [4]uint32{110, 100 + *host, 110, 110}, read())
		}

		require.NoError(t, driver.StreamBeginCapture(handle(s), driver.CaptureThreadLocal)) // a graph in a graph
		require.NoError(t, exec.Launch(handle(s)))
		require.NoError(t, cu.MemsetD32Async(y, 5, 1, s))
		outer := endCapture(t, s)
		*host = 4
		require.Equal(t, [4]uint32{110, 103, 110, 110}, read())
		require.NoError(t, outer.Launch(handle(s)))
		require.Equal(t, [4]uint32{5, 104, 110, 110}, read())
		require.NoError(t, outer.Destroy())
		require.ErrorIs(t, outer.Launch(handle(s)), driver.ErrorInvalidHandle)

		require.NoError(t, exec.Launch(handle(s)))
		require.NoError(t, exec.Destroy(), "what is enqueued runs")
		*host = 6
		require.Equal(t, [4]uint32{110, 106, 110, 110}, read())
		require.Zero(t, d.Live().Graphs)

		require.NoError(t, driver.StreamBeginCapture(handle(s), driver.CaptureThreadLocal))
		empty := endCapture(t, s)
		require.NoError(t, empty.Launch(handle(s)))
		require.NoError(t, cu.MemFree(y))
		require.NoError(t, s.Synchronize())
		require.NoError(t, empty.Destroy())
	})
}

// TestGraphOnTwoStreams: launches of one graph follow each other, on whatever streams.
func TestGraphOnTwoStreams(t *testing.T) {
	install(t, emu.Config{})
	inContext(t, func() {
		a, b := newStream(t, cu.NonBlocking), newStream(t, cu.NonBlocking)
		x, err := cu.MemAlloc(4)
		require.NoError(t, err)
		count := kernel(t, "ld.global.u32 %a, [%x];\nadd.u32 %a, %a, 1;\nst.global.u32 [%x], %a;")
		require.NoError(t, driver.StreamBeginCapture(handle(a), driver.CaptureThreadLocal))
		require.NoError(t, launch(count, 1, 1, handle(a), uint64(x), 0, 0))
		exec := endCapture(t, a)
		require.NoError(t, cu.MemsetD32Async(x, 0, 1, a))
		require.NoError(t, exec.Launch(handle(a)))
		require.NoError(t, exec.Launch(handle(b)))
		var n uint32
		require.NoError(t, cu.MemcpyDtoHAsync(unsafe.Pointer(&n), x, 4, b))
		require.NoError(t, b.Synchronize())
		require.EqualValues(t, 2, n)
		require.NoError(t, exec.Destroy())
	})
}

// TestCaptureRefuses: what is not allowed during a capture fails, and of the capture comes nothing.
func TestCaptureRefuses(t *testing.T) {
	install(t, emu.Config{})
	inContext(t, func() {
		x, err := cu.MemAlloc(4)
		require.NoError(t, err)
		host, err := driver.MemHostAlloc(4, driver.HostPortable)
		require.NoError(t, err)
		other, blocking := newStream(t, cu.NonBlocking), newStream(t, cu.DefaultStream)
		outside, inside := event(t), event(t)
		require.NoError(t, outside.Record(other))
		for _, c := range []struct {
			name    string
			call    func(s cu.Stream) error
			want    error
			relaxed error // the same in a relaxed capture; nil means that it is allowed
		}{
			{"alloc", func(cu.Stream) error { _, err := cu.MemAlloc(4); return err }, cu.StreamCaptureUnsupported, nil},
			{"free", func(cu.Stream) error { return cu.MemFree(0) }, cu.StreamCaptureUnsupported, nil},
			{"pinned memory", func(cu.Stream) error { _, err := driver.MemHostAlloc(4, 0); return err }, driver.ErrorStreamCaptureUnsupported, nil},
			{"copy that waits", func(cu.Stream) error { return cu.MemcpyHtoD(x, host, 4) }, cu.StreamCaptureUnsupported, nil},
			{"set on the null stream", func(cu.Stream) error { return cu.MemsetD8(x, 0, 4) }, cu.StreamCaptureUnsupported, nil},
			{"module", func(cu.Stream) error { _, err := cu.LoadData(text("ret;")); return err }, cu.StreamCaptureUnsupported, nil},
			{"wait for another stream", func(cu.Stream) error { return other.Synchronize() }, cu.StreamCaptureUnsupported, nil},
			{"wait for an event", func(cu.Stream) error { return outside.Synchronize() }, cu.StreamCaptureUnsupported, nil},
			{"wait", func(s cu.Stream) error { return s.Synchronize() }, cu.StreamCaptureUnsupported, cu.StreamCaptureUnsupported},
			{"query", func(s cu.Stream) error { return s.Query() }, cu.StreamCaptureUnsupported, cu.StreamCaptureUnsupported},
			{"wait for everything", func(cu.Stream) error { return cu.Synchronize() }, cu.StreamCaptureUnsupported, cu.StreamCaptureUnsupported},
			{"wait for its own event", func(s cu.Stream) error {
				require.NoError(t, inside.Record(s))
				return inside.Synchronize()
			}, cu.StreamCaptureUnsupported, cu.CapturedEvent},
			{"query of its own event", func(s cu.Stream) error {
				require.NoError(t, inside.Record(s))
				return inside.Query()
			}, cu.StreamCaptureUnsupported, cu.CapturedEvent},
			{"time of its own event", func(s cu.Stream) error {
				require.NoError(t, inside.Record(s))
				_, err := outside.Elapsed(inside)
				return err
			}, cu.CapturedEvent, cu.CapturedEvent},
			{"event from outside", func(s cu.Stream) error { return s.Wait(outside, 0) }, cu.StreamCaptureIsolation, cu.StreamCaptureIsolation},
			{"another stream that joins", func(s cu.Stream) error {
				require.NoError(t, inside.Record(s))
				return other.Wait(inside, 0)
			}, cu.NotSupported, cu.NotSupported},
			{"another capture's event", func(s cu.Stream) error {
				require.NoError(t, driver.StreamBeginCapture(handle(other), driver.CaptureRelaxed))
				require.NoError(t, inside.Record(other))
				err := s.Wait(inside, 0)
				_, end := driver.StreamEndCapture(handle(other))
				require.ErrorIs(t, end, driver.ErrorStreamCaptureInvalidated)
				return err
			}, cu.StreamCaptureMerge, cu.StreamCaptureMerge},
		} {
			for mode, want := range map[driver.CaptureMode]error{driver.CaptureThreadLocal: c.want, driver.CaptureGlobal: c.want,
				driver.CaptureRelaxed: c.relaxed} {
				s := newStream(t, cu.NonBlocking)
				require.NoError(t, driver.StreamBeginCapture(handle(s), mode))
				require.NoError(t, cu.MemsetD8Async(x, 1, 4, s))
				err := c.call(s)
				if want == nil {
					require.NoError(t, err, c.name)
					require.NoError(t, endCapture(t, s).Destroy())
					continue
				}
				require.ErrorIs(t, err, want, "%s, mode %d", c.name, mode)
				require.Equal(t, cu.StreamCaptureInvalidated, cu.MemsetD8Async(x, 1, 4, s), "after %s", c.name)
				g, err := driver.StreamEndCapture(handle(s))
				require.ErrorIs(t, err, driver.ErrorStreamCaptureInvalidated)
				require.Zero(t, g)
				require.NoError(t, cu.MemsetD8Async(x, 1, 4, s), "the stream works again")
				require.NoError(t, s.Synchronize())
			}
		}
		require.NoError(t, driver.StreamBeginCapture(handle(blocking), driver.CaptureRelaxed))
		require.Equal(t, cu.StreamCaptureImplicit, cu.MemsetD8(x, 0, 4), "the null stream would wait for what is captured")
		_, err = driver.StreamEndCapture(handle(blocking))
		require.ErrorIs(t, err, driver.ErrorStreamCaptureInvalidated)
	})
}

func event(t *testing.T) cu.Event {
	e, err := cu.MakeEvent(cu.DefaultEvent)
	require.NoError(t, err)
	return e
}

// TestCaptureBounds: where captures begin and end.
func TestCaptureBounds(t *testing.T) {
	install(t, emu.Config{})
	inContext(t, func() {
		s := newStream(t, cu.NonBlocking)
		require.ErrorIs(t, driver.StreamBeginCapture(0, driver.CaptureRelaxed), driver.ErrorStreamCaptureUnsupported, "the null stream")
		require.ErrorIs(t, driver.StreamBeginCapture(handle(s), 3), driver.ErrorInvalidValue)
		_, err := driver.ThreadExchangeCaptureMode(3)
		require.ErrorIs(t, err, driver.ErrorInvalidValue)
		_, err = driver.StreamEndCapture(handle(s))
		require.ErrorIs(t, err, driver.ErrorIllegalState, "no capture")

		ctx, err := cu.CurrentContext()
		require.NoError(t, err)
		elsewhere := func(f func() error) (err error) { // on another thread
			var group sync.WaitGroup
			group.Go(func() {
				runtime.LockOSThread() // and end with the goroutine
				if err = cu.SetCurrentContext(ctx); err == nil {
					err = f()
				}
			})
			group.Wait()
			return err
		}
		end := func() error { g, err := driver.StreamEndCapture(handle(s)); _ = g.Destroy(); return err }
		alloc := func() error { _, err := cu.MemAlloc(4); return err }
		for _, c := range []struct {
			mode       driver.CaptureMode
			end, alloc error // on another thread
		}{
			{driver.CaptureRelaxed, nil, nil},
			{driver.CaptureThreadLocal, driver.ErrorStreamCaptureWrongThread, nil},
			{driver.CaptureGlobal, driver.ErrorStreamCaptureWrongThread, cu.StreamCaptureUnsupported},
		} {
			require.NoError(t, driver.StreamBeginCapture(handle(s), c.mode))
			require.ErrorIs(t, driver.StreamBeginCapture(handle(s), c.mode), driver.ErrorIllegalState, "twice")
			require.ErrorIs(t, elsewhere(end), c.end)
			if c.end != nil {
				require.NoError(t, end())
			}
			require.NoError(t, driver.StreamBeginCapture(handle(s), c.mode))
			for of, mode := range map[string]driver.CaptureMode{"a thread that minds its own": driver.CaptureThreadLocal, "one that minds none": driver.CaptureRelaxed} {
				require.NoError(t, elsewhere(func() error {
					before, err := driver.ThreadExchangeCaptureMode(mode)
					require.NoError(t, err)
					require.Equal(t, driver.CaptureGlobal, before)
					defer func() {
						was, err := driver.ThreadExchangeCaptureMode(before)
						require.NoError(t, err)
						require.Equal(t, mode, was)
					}()
					return alloc()
				}), of)
			}
			require.ErrorIs(t, elsewhere(alloc), c.alloc)
			_, err := driver.StreamEndCapture(handle(s))
			if c.alloc == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, driver.ErrorStreamCaptureInvalidated)
			}
		}

		gone := s
		require.NoError(t, driver.StreamBeginCapture(handle(s), driver.CaptureThreadLocal))
		require.NoError(t, s.Destroy(), "with its capture")
		_, err = driver.StreamEndCapture(handle(gone))
		require.ErrorIs(t, err, driver.ErrorInvalidHandle)
		_, err = driver.Graph(handle(gone)).Instantiate(0)
		require.ErrorIs(t, err, driver.ErrorInvalidHandle)
		require.ErrorIs(t, driver.Graph(handle(gone)).Destroy(), driver.ErrorInvalidHandle)
		require.ErrorIs(t, driver.GraphExec(handle(gone)).Destroy(), driver.ErrorInvalidHandle)
		require.ErrorIs(t, driver.GraphExec(handle(gone)).Launch(0), driver.ErrorInvalidHandle)
		s = newStream(t, cu.NonBlocking)
		require.NoError(t, driver.StreamBeginCapture(handle(s), driver.CaptureThreadLocal))
		g, err := driver.StreamEndCapture(handle(s))
		require.NoError(t, err)
		_, err = g.Instantiate(2)
		require.ErrorIs(t, err, driver.ErrorInvalidValue, "unknown flags")
		require.NoError(t, g.Destroy())
	})
}

// TestForeignCapture: a stream of somebody else's that he captures is known, and his capture is left alone, by closing of buffers too.
func TestForeignCapture(t *testing.T) {
	install(t, emu.Config{Seed: 1})
	d, err := cuda.Open(0)
	require.NoError(t, err)
	defer d.Close()
	inContext(t, func() {
		theirs := newStream(t, cu.NonBlocking)
		s := cuda.WrapStream(d, uintptr(handle(theirs)))
		captured := func() bool {
			is, err := cuda.Captured(s)
			require.NoError(t, err)
			return is
		}
		require.False(t, captured())
		b, err := d.Alloc(device.Float32, 4)
		require.NoError(t, err)
		wrapped, err := cuda.Wrap(d, device.Float32, 4, b.Addr())
		require.NoError(t, err)
		require.NoError(t, driver.StreamBeginCapture(handle(theirs), driver.CaptureThreadLocal))
		require.True(t, captured())
		require.NoError(t, cu.MemsetD32Async(cu.DevicePtr(b.Addr()), 7, 4, theirs))
		require.NoError(t, wrapped.Close())
		exec := endCapture(t, theirs)
		require.False(t, captured())
		require.NoError(t, exec.Launch(handle(theirs)))
		require.NoError(t, theirs.Synchronize())
		var x [4]uint32
		require.NoError(t, cu.MemcpyDtoH(unsafe.Pointer(&x), cu.DevicePtr(b.Addr()), 16))
		require.Equal(t, [4]uint32{7, 7, 7, 7}, x)
		require.NoError(t, driver.StreamBeginCapture(handle(theirs), driver.CaptureThreadLocal))
		require.Error(t, theirs.Query(), "which ends it")
		require.True(t, captured(), "it is still to be ended by who began it")
		_, err = driver.StreamEndCapture(handle(theirs))
		require.Error(t, err)
		require.False(t, captured())
	})
}
