package device

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// eventually runs the garbage collector until cond holds, for at most a minute.
func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	for began := time.Now(); !cond(); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("%s: not within a minute", what)
		}
		runtime.GC()
	}
}

// I8: what is not reached is given back: once, through the processor, and not where somebody holds a part of it.
func TestCollected(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(w *world) any // returns what is held meanwhile
		want []string
	}{
		{"buffer", func(w *world) any { _, _ = w.dev.Alloc(Float32, 1); return nil }, []string{"free"}},
		{"buffer of which a slice is held", func(w *world) any {
			b, _ := w.dev.Alloc(Float32, 2)
			s, _ := b.Slice(0, 1)
			return s
		}, nil},
		{"closed buffer", func(w *world) any {
			b, _ := w.dev.Alloc(Float32, 2)
			_ = b.Close()
			return nil
		}, []string{"free"}},
		{"stream", func(w *world) any { _, _ = w.dev.NewStream(); return nil }, []string{"synchronize queue", "close queue"}},
		{"event", func(w *world) any { _, _ = w.dev.NewEvent(); return nil }, []string{"close marker"}},
		{"others' memory", func(w *world) any { _, _ = w.dev.Wrap(Float32, 1, &fakeMemory{w.fake, 64}); return nil }, []string{"free"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			held := c.make(w)
			w.mu.Lock()
			w.calls = slices.DeleteFunc(w.calls, func(s string) bool { return s == "alloc 4" || s == "alloc 8" || s == "queue" || s == "marker" })
			w.mu.Unlock()
			if c.want != nil {
				eventually(t, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.calls) >= len(c.want) }, c.name)
			} else {
				w.dev.collector.collect()
			}
			w.dev.collector.collect() // once more finds nothing more
			w.mu.Lock()
			defer w.mu.Unlock()
			require.Equal(t, fmt.Sprint(c.want), fmt.Sprint(w.calls))
			runtime.KeepAlive(held)
			runtime.KeepAlive(w.dev)
			runtime.KeepAlive(w.s)
			runtime.KeepAlive(w.e)
			runtime.KeepAlive(w.b)
		})
	}
}

// I8: a device that nobody reaches is closed, with all that is on it, and its processor is called no more.
func TestDeviceCollected(t *testing.T) {
	w := newWorld(t)
	f := w.fake
	*w = world{}
	closed := func() bool { f.mu.Lock(); defer f.mu.Unlock(); return slices.Contains(f.calls, "close") }
	eventually(t, closed, "close of the device")
	for range 5 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Equal(t, "close", f.calls[len(f.calls)-1])
	require.Equal(t, 1, len(slices.DeleteFunc(slices.Clone(f.calls), func(s string) bool { return s != "close" })))
}

// I8: a device that is out of memory because of buffers that nobody reaches is not.
func TestCollectWhenShort(t *testing.T) {
	f := &fake{limit: 10}
	dev, err := New("fake", f)
	require.NoError(t, err)
	for i := range 1000 {
		_, err := dev.Alloc(Float32, 1)
		require.NoError(t, err, "allocation %d", i)
	}
	held := []*Buffer{}
	for err == nil {
		var b *Buffer
		b, err = dev.Alloc(Float32, 1)
		held = append(held, b)
	}
	require.ErrorIs(t, err, ErrOutOfMemory)
	require.Equal(t, 11, len(held), fmt.Sprint(err))
	runtime.KeepAlive(held)
}

// I9, C4: methods of what is nil or zero return errors or zero values.
func TestZeroValues(t *testing.T) {
	w := newWorld(t)
	x := make([]float32, 1)
	for name, d := range map[string]*Device{"nil": nil, "zero": {}} {
		_, alloc := d.Alloc(Float32, 1)
		_, wrap := d.Wrap(Float32, 1, nil)
		_, stream := d.NewStream()
		_, event := d.NewEvent()
		_, _, info := d.MemInfo()
		for i, err := range []error{alloc, wrap, stream, event, info, d.Close(), Upload(d.DefaultStream(), w.b, x)} {
			require.ErrorIs(t, err, ErrClosed, "%s device, call %d", name, i)
		}
		require.Empty(t, d.Name())
		require.Nil(t, d.Processor())
	}
	for name, b := range map[string]*Buffer{"nil": nil, "zero": {}} {
		_, slice := b.Slice(0, 0)
		for i, err := range []error{slice, b.Close(), b.Check(w.dev), b.Check(nil), w.s.Zero(b), w.s.Copy(b, w.b), w.s.Copy(w.b, b), Upload(w.s, b, x), Download(w.s, x, b)} {
			require.ErrorIs(t, err, ErrClosed, "%s buffer, call %d", name, i)
		}
		require.Nil(t, b.Device())
		require.Equal(t, []any{DType(0), 0, Span{}, uint64(0), false, false}, []any{b.DType(), b.Len(), b.Span(), b.Addr(), b.Overlaps(w.b), w.b.Overlaps(b)})
	}
	for name, s := range map[string]*Stream{"nil": nil, "zero": {}} {
		for i, err := range []error{s.Check(w.dev), s.Check(nil), s.Zero(w.b), s.Copy(w.b, w.b), s.Record(w.e), s.Wait(w.e), s.Synchronize(), s.Close(), Upload(s, w.b, x), Download(s, x, w.b)} {
			require.ErrorIs(t, err, ErrClosed, "%s stream, call %d", name, i)
		}
		require.Nil(t, s.Device())
		require.Nil(t, s.Queue())
	}
	for name, e := range map[string]*Event{"nil": nil, "zero": {}} {
		_, done := e.Done()
		_, since := e.Since(w.e)
		_, from := w.e.Since(e)
		for i, err := range []error{done, since, from, e.Synchronize(), e.Close(), w.s.Record(e), w.s.Wait(e)} {
			require.ErrorIs(t, err, ErrClosed, "%s event, call %d", name, i)
		}
	}
}
