package device

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fake is a processor, memory, queue and marker that notes what it is asked for and does nothing, or fails.
type fake struct {
	mu    sync.Mutex
	calls []string
	err   error
	limit int // allocations there may be at a time, if not 0
	live  int
}

func (f *fake) call(name string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name+fmt.Sprint(args...))
	return f.err
}

type fakeMemory struct {
	*fake
	addr uint64
}

type fakeQueue struct{ *fake }

type fakeMarker struct{ *fake }

func (f *fake) Alloc(n int64) (Memory, error) {
	f.mu.Lock()
	if f.live++; f.limit > 0 && f.live > f.limit {
		f.live--
		f.mu.Unlock()
		return nil, ErrOutOfMemory
	}
	f.mu.Unlock()
	return &fakeMemory{f, 1 << 20}, f.call("alloc ", n)
}
func (f *fake) NewQueue() (Queue, error)       { return fakeQueue{f}, f.call("queue") }
func (f *fake) NewMarker() (Marker, error)     { return fakeMarker{f}, f.call("marker") }
func (f *fake) MemInfo() (int64, int64, error) { return 1, 2, f.call("memory") }
func (f *fake) Close() error                   { return f.call("close") }
func (m *fakeMemory) Addr() uint64             { return m.addr }
func (m *fakeMemory) Free() error {
	m.mu.Lock()
	m.live--
	m.mu.Unlock()
	return m.call("free")
}
func (q fakeQueue) Upload(d Span, b []byte) error {
	return q.call("upload ", d.Off, " ", d.N, " ", len(b))
}
func (q fakeQueue) Download(b []byte, s Span) error {
	return q.call("download ", len(b), " ", s.Off, " ", s.N)
}
func (q fakeQueue) Copy(d, s Span) error {
	return q.call("copy ", d.Off, " ", s.Off, " ", d.N, " ", s.N)
}
func (q fakeQueue) Zero(d Span) error    { return q.call("zero ", d.Off, " ", d.N) }
func (q fakeQueue) Record(Marker) error  { return q.call("record") }
func (q fakeQueue) Wait(Marker) error    { return q.call("wait") }
func (q fakeQueue) Synchronize() error   { return q.call("synchronize queue") }
func (q fakeQueue) Close() error         { return q.call("close queue") }
func (m fakeMarker) Synchronize() error  { return m.call("synchronize marker") }
func (m fakeMarker) Done() (bool, error) { return true, m.call("done") }
func (m fakeMarker) Since(Marker) (time.Duration, error) {
	return time.Second, m.call("since")
}
func (m fakeMarker) Close() error { return m.call("close marker") }

// world is a device of a fake processor with one of each thing on it.
type world struct {
	*fake
	dev *Device
	s   *Stream
	e   *Event
	b   *Buffer
}

func newWorld(t *testing.T) *world {
	w := &world{fake: &fake{}}
	var err error
	w.dev, err = New("fake", w.fake)
	require.NoError(t, err)
	w.s, err = w.dev.NewStream()
	require.NoError(t, err)
	w.e, err = w.dev.NewEvent()
	require.NoError(t, err)
	w.b, err = w.dev.Alloc(Float32, 10)
	require.NoError(t, err)
	require.NoError(t, w.s.Record(w.e))
	w.calls = nil
	return w
}

type operation struct {
	name string
	run  func() error
	want []string // the processor's calls
}

// operations are all calls that reach a processor, on parts of parts of the buffer.
func (w *world) operations(t *testing.T) []operation {
	part, err := w.b.Slice(2, 4)
	require.NoError(t, err)
	rest, err := w.b.Slice(4, 10)
	require.NoError(t, err)
	deep, err := rest.Slice(3, 5)
	require.NoError(t, err)
	return []operation{
		{"alloc", func() error { _, err := w.dev.Alloc(Float64, 3); return err }, []string{"alloc 24"}},
		{"new stream", func() error { _, err := w.dev.NewStream(); return err }, []string{"queue"}},
		{"new event", func() error { _, err := w.dev.NewEvent(); return err }, []string{"marker"}},
		{"memory info", func() error { _, _, err := w.dev.MemInfo(); return err }, []string{"memory"}},
		{"upload", func() error { return Upload(w.s, part, make([]float32, 2)) }, []string{"upload 8 8 8"}},
		{"download", func() error { return Download(w.s, make([]float32, 2), deep) }, []string{"download 8 28 8"}},
		{"copy", func() error { return w.s.Copy(part, deep) }, []string{"copy 8 28 8 8"}},
		{"zero", func() error { return w.s.Zero(rest) }, []string{"zero 16 24"}},
		{"record", func() error { return w.s.Record(w.e) }, []string{"record"}},
		{"wait", func() error { return w.s.Wait(w.e) }, []string{"wait"}},
		{"synchronize", w.s.Synchronize, []string{"synchronize queue"}},
		{"synchronize event", w.e.Synchronize, []string{"synchronize marker"}},
		{"query event", func() error { _, err := w.e.Done(); return err }, []string{"done"}},
		{"elapsed time", func() error { _, err := w.e.Since(w.e); return err }, []string{"synchronize marker", "synchronize marker", "since"}},
		{"close event", w.e.Close, []string{"close marker"}},
		{"close stream", w.s.Close, []string{"synchronize queue", "close queue"}},
		{"close buffer", w.b.Close, []string{"free"}},
		{"close", w.dev.Close, []string{"close"}},
	}
}

// Each call reaches the processor once, with the bytes that it means.
func TestProcessorCalls(t *testing.T) {
	w := newWorld(t)
	for _, op := range w.operations(t) {
		w.calls = nil
		require.NoError(t, op.run(), op.name)
		require.Equal(t, op.want, w.calls, op.name)
	}
}

// Once a device is closed, nothing reaches its processor.
func TestClosedDevice(t *testing.T) {
	w := newWorld(t)
	ops := w.operations(t)
	require.NoError(t, w.dev.Close())
	w.calls = nil
	for _, op := range ops {
		require.ErrorIs(t, op.run(), ErrClosed, op.name)
	}
	require.Empty(t, w.calls)
}

// An error of the processor comes up with the name of the operation in front.
func TestProcessorErrors(t *testing.T) {
	w := newWorld(t)
	broken := errors.New("broken")
	ops := w.operations(t)
	w.err = broken
	for _, op := range ops {
		err := op.run()
		require.ErrorIs(t, err, broken, op.name)
		if msg := err.Error(); !strings.HasPrefix(msg, "device") || !strings.Contains(msg, op.name+": ") && !strings.Contains(msg, op.name+" of ") {
			t.Errorf("%s: error reads %q", op.name, msg)
		}
	}
	_, err := New("broken", w.fake)
	require.ErrorIs(t, err, broken)
}

// What is refused, or empty, does not reach the processor.
func TestRefusedCalls(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	fresh, err := w.dev.NewEvent()
	require.NoError(t, err)
	half, err := w.b.Slice(0, 5)
	require.NoError(t, err)
	none, err := w.b.Slice(10, 10)
	require.NoError(t, err)
	w.calls = nil
	slice := func(i, j int) error { _, err := w.b.Slice(i, j); return err }
	alloc := func(t DType, n int) error { _, err := w.dev.Alloc(t, n); return err }
	wrap := func(t DType, n int) error { _, err := w.dev.Wrap(t, n, &fakeMemory{w.fake, 64}); return err }
	for i, c := range []struct{ err, want error }{
		{slice(-1, 0), ErrRange}, {slice(5, 4), ErrRange}, {slice(0, 11), ErrRange}, {slice(math.MaxInt, math.MaxInt), ErrRange},
		{alloc(Float32, -1), ErrRange}, {alloc(0, 1), ErrUnsupported}, {alloc(Int8+1, 0), ErrUnsupported},
		{wrap(Float32, -1), ErrRange}, {wrap(0, 1), ErrUnsupported}, {wrap(Float64, 8), nil}, {alloc(Float32, 0), nil},
		{w.s.Copy(half, w.b), &LengthError{"destination", 5, "source", 10}},
		{Upload(w.s, half, make([]float32, 6)), &LengthError{"source", 6, "buffer", 5}},
		{Download(w.s, make([]float64, 5), half), &DTypeError{"destination", Float64, "buffer", Float32}},
		{Upload(w.s, half, make([]uint16, 6)), &DTypeError{"source", BFloat16, "buffer", Float32}},
		{w.s.Copy(w.b, w.b), ErrOverlap}, {w.s.Copy(none, none), nil}, {w.s.Zero(none), nil}, {Upload[float32](w.s, none, nil), nil},
		{w.s.Copy(other.b, w.b), ErrForeign}, {w.s.Wait(other.e), ErrForeign}, {w.s.Record(other.e), ErrForeign},
		{other.s.Check(w.dev), ErrForeign}, {w.s.Check(w.dev), nil}, {w.b.Check(other.dev), ErrForeign},
		{w.s.Wait(fresh), ErrNotRecorded}, {fresh.Synchronize(), ErrNotRecorded},
		{half.Close(), errors.New("device: close buffer: it is a slice; only the whole buffer can be closed")},
		{w.dev.DefaultStream().Close(), errors.New("device: close stream: it is the default stream, which closes with its device")},
	} {
		ok := errors.Is(c.err, c.want) || c.err != nil && c.want != nil && c.err.Error() == c.want.Error()
		for err := c.err; err != nil && !ok; err = errors.Unwrap(err) {
			ok = reflect.DeepEqual(err, c.want)
		}
		if !ok {
			t.Errorf("case %d: got %v, want %v", i, c.err, c.want)
		}
	}
	require.Empty(t, w.calls)
	if math.MaxInt > math.MaxInt32 {
		require.ErrorIs(t, alloc(Float64, math.MaxInt), ErrRange)
		require.ErrorIs(t, alloc(Float64, math.MaxInt>>4+2), ErrRange)
	}
}

func TestOverlaps(t *testing.T) {
	w := newWorld(t)
	slice := func(i, j int) *Buffer {
		s, err := w.b.Slice(i, j)
		require.NoError(t, err)
		return s
	}
	wrapped, err := w.dev.Wrap(BFloat16, 4, &fakeMemory{w.fake, w.b.Addr() + 4})
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		a, b *Buffer
		want bool
	}{
		{"itself", w.b, w.b, true},
		{"one element shared", slice(0, 5), slice(4, 10), true},
		{"inside", w.b, slice(3, 4), true},
		{"neighbours", slice(0, 5), slice(5, 10), false},
		{"empty inside", w.b, slice(3, 3), false},
		{"the same bytes wrapped", slice(1, 3), wrapped, true},
		{"beside the bytes wrapped", slice(3, 4), wrapped, false},
		{"another device", w.b, newWorld(t).b, false},
	} {
		if got, back := c.a.Overlaps(c.b), c.b.Overlaps(c.a); got != c.want || back != c.want {
			t.Errorf("%s: got %v, and %v the other way round, want %v", c.name, got, back, c.want)
		}
	}
	deep, err := slice(2, 9).Slice(3, 4)
	require.NoError(t, err)
	require.Equal(t, Span{w.b.Span().Mem, 20, 4}, deep.Span())
	require.Equal(t, w.b.Addr()+20, deep.Addr())
}

func TestErrorTexts(t *testing.T) {
	w := newWorld(t)
	for want, err := range map[string]error{
		"grad has 12 elements, value has 16":                            &LengthError{"grad", 12, "value", 16},
		"grad is float64, value is float32":                             &DTypeError{"grad", Float64, "value", Float32},
		"device: upload: source has 9 elements, buffer has 10":          Upload(w.s, w.b, make([]float32, 9)),
		"device: download: destination is float64, buffer is float32":   Download(w.s, make([]float64, 10), w.b),
		"device: copy: destination overlaps source":                     w.s.Copy(w.b, w.b),
		"device: zero: buffer is closed":                                w.s.Zero(nil),
		"device: zero: buffer of device fake belongs to another device": w.s.Zero(newWorld(t).b),
		"device: record: stream is closed":                              (*Stream)(nil).Record(w.e),
		"device: synchronize event: event is closed":                    (*Event)(nil).Synchronize(),
		"device fake: alloc of -3 bfloat16: out of range":               func() error { _, err := w.dev.Alloc(BFloat16, -3); return err }(),
		"device: slice [8:11] of 10 elements: out of range":             func() error { _, err := w.b.Slice(8, 11); return err }(),
		"device fake: wrap of 1 DType(9): not supported by this device": func() error { _, err := w.dev.Wrap(9, 1, nil); return err }(),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// Closings tells that something was closed, and stays while nothing is.
func TestClosings(t *testing.T) {
	dev, err := New("fake", &fake{})
	require.NoError(t, err)
	before := dev.Closings()
	a, err := dev.Alloc(Float32, 3)
	require.NoError(t, err)
	empty, err := dev.Alloc(Float32, 0)
	require.NoError(t, err)
	part, err := a.Slice(0, 1)
	require.NoError(t, err)
	require.Error(t, part.Close())
	require.Equal(t, before, dev.Closings())
	for _, c := range []interface{ Close() error }{a, empty, dev} {
		require.NoError(t, c.Close())
		now := dev.Closings()
		require.Greater(t, now, before)
		require.Error(t, c.Close())
		require.Equal(t, now, dev.Closings(), "what is closed is not closed again")
		before = now
	}
}
