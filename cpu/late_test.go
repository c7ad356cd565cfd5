package cpu

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// stumble is a task that panics.
type stumble struct{ q *queue }

func (s stumble) run() {
	s.q.proc.pool.do(1000, func(thread, i int) {
		if i == 500 {
			var none []int
			_ = none[i]
		}
	})
}

// W2: a panic in a stream's task, on whichever thread, is the stream's error from then on, and that of whoever waits for its events. Nobody
// waits for ever, and other streams go on.
func TestPanic(t *testing.T) {
	for _, threads := range []int{1, 4} {
		for _, small := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d threads, small %v", threads, small), func(t *testing.T) {
				dev := NewThreads(threads)
				s, err := dev.NewStream()
				require.NoError(t, err)
				waits, err := dev.NewStream()
				require.NoError(t, err)
				before, err := dev.NewEvent()
				require.NoError(t, err)
				after, err := dev.NewEvent()
				require.NoError(t, err)
				b, err := dev.Alloc(device.Float32, 100)
				require.NoError(t, err)
				q := s.Queue().(*queue)
				require.NoError(t, s.Record(before))
				g := newGate()
				if !small { // what stands behind the panic has been enqueued before it
					require.NoError(t, q.enqueue(g, false))
					<-g.running
				}
				_ = q.enqueue(stumble{q}, small)
				if !small {
					require.NoError(t, s.Record(after))
					require.NoError(t, waits.Wait(after))
					require.NoError(t, device.Upload(s, b, make([]float32, 100)))
					close(g.open)
				}
				within(t, "synchronize", func() { err = s.Synchronize() })
				p, ok := errors.AsType[*device.PanicError](err)
				require.True(t, ok, "%v", err)
				require.Contains(t, err.Error(), "index out of range [500]")
				require.Contains(t, p.Stack, "stumble.run")
				within(t, "every later call", func() {
					for i, again := range []error{s.Synchronize(), s.Zero(b), s.Record(before), s.Wait(before), device.Upload(s, b, make([]float32, 100))} {
						require.ErrorIs(t, again, p, "call %d", i)
					}
					if !small {
						require.ErrorIs(t, after.Synchronize(), p)
						_, err := after.Done()
						require.ErrorIs(t, err, p)
						require.ErrorIs(t, waits.Synchronize(), p)
					}
					require.NoError(t, before.Synchronize())
					d := dev.DefaultStream()
					require.NoError(t, d.Zero(b))
					require.NoError(t, d.Synchronize())
					require.ErrorIs(t, s.Close(), p)
					require.NoError(t, b.Close())
					err = dev.Close()
				})
				if small {
					require.NoError(t, err) // the stream was closed, with its error
				} else {
					require.ErrorIs(t, err, p) // of the other stream
				}
			})
		}
	}
}

// W2: all threads have left a body that panics when do panics, and the next loop runs as ever.
func TestPoolPanic(t *testing.T) {
	p := newPool(4)
	defer p.close()
	for range 200 {
		var mu sync.Mutex
		over := false
		func() {
			defer func() {
				e := recover().(*device.PanicError)
				require.Equal(t, "three", e.Value)
			}()
			p.do(100, func(_, i int) {
				if i == 3 {
					panic("three")
				}
				mu.Lock()
				defer mu.Unlock()
				if over {
					t.Error("runs after the end")
				}
			})
		}()
		mu.Lock()
		over = true
		mu.Unlock()
		n := 0
		p.do(100, func(int, int) { mu.Lock(); n++; mu.Unlock() })
		require.Equal(t, 100, n)
	}
}

// C3: a stream holds so much work and no more; who enqueues waits for the oldest, and only for that.
func TestQueueBound(t *testing.T) {
	q := newQueue(newTestProcessor(t, 1))
	first, second := newGate(), newGate()
	require.NoError(t, q.enqueue(first, false))
	<-first.running
	require.NoError(t, q.enqueue(second, false))
	for range depth - 1 {
		require.NoError(t, q.enqueue(taskFunc(func() {}), true))
	}
	over := make(chan error)
	go func() { over <- q.enqueue(taskFunc(func() {}), false) }()
	select {
	case <-over:
		t.Fatal("the queue holds more than it may")
	case <-time.After(20 * time.Millisecond):
	}
	close(first.open)
	within(t, "room after the oldest task", func() { require.NoError(t, <-over) })
	close(second.open)
	q.wait()
}

// C3: streams that wait for each other's events all the time, from one goroutine and with full queues, go on.
func TestQueuesBoundTogether(t *testing.T) {
	dev := NewThreads(2)
	defer dev.Close()
	var streams [3]*device.Stream
	var events [3]*device.Event
	var buffers [3]*device.Buffer
	var err error
	for i := range streams {
		streams[i], err = dev.NewStream()
		require.NoError(t, err)
		events[i], err = dev.NewEvent()
		require.NoError(t, err)
		buffers[i], err = dev.Alloc(device.Float32, 1<<16)
		require.NoError(t, err)
	}
	within(t, "three streams in a ring", func() {
		for k := range 3000 {
			i := k % 3
			for range 5 {
				require.NoError(t, streams[i].Zero(buffers[i]))
			}
			require.NoError(t, streams[i].Record(events[i]))
			require.NoError(t, streams[(i+1)%3].Wait(events[i]))
		}
		for _, s := range streams {
			require.NoError(t, s.Synchronize())
		}
	})
}

// settle collects garbage until it is enough.
func settle(t *testing.T, enough func() bool, what string) {
	t.Helper()
	for began := time.Now(); !enough(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			buf := make([]byte, 1<<16)
			t.Fatalf("%s: not within a minute; %d goroutines:\n%s", what, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
		runtime.GC()
	}
}

// I8: 50 devices that nobody closes, with threads and work of theirs, leave neither goroutines nor memory.
func TestDevicesCollected(t *testing.T) {
	settle(t, func() bool { return true }, "")
	goroutines := runtime.NumGoroutine()
	before := mapped.Load()
	for range 50 {
		dev := NewThreads(3)
		b, err := dev.Alloc(device.Float32, 1<<20)
		require.NoError(t, err)
		s, err := dev.NewStream()
		require.NoError(t, err)
		require.NoError(t, device.Upload(s, b, make([]float32, 1<<20))) // and nobody waits
		require.NoError(t, dev.DefaultStream().Zero(b))
	}
	settle(t, func() bool { return runtime.NumGoroutine() <= goroutines && mapped.Load() <= before }, "devices without Close")
}

// I8: buffers, streams and updates of a device that stays are given back, after the work on them.
func TestBuffersCollected(t *testing.T) {
	dev := NewThreads(2)
	defer dev.Close()
	n := 1 << 19
	out := make([]float32, n)
	for i := range 30 {
		b, err := dev.Alloc(device.Float32, n)
		require.NoError(t, err)
		x := make([]float32, n)
		x[7] = float32(i)
		s, err := dev.NewStream()
		require.NoError(t, err)
		require.NoError(t, device.Upload(s, b, x))
		part, err := b.Slice(7, 8)
		require.NoError(t, err)
		runtime.GC()
		require.NoError(t, device.Download(s, out[i:i+1], part))
		require.NoError(t, s.Synchronize())
		require.Equal(t, float32(i), out[i])
		norm, err := dev.Compile(kernels.Work{Program: kernels.Norm(), Tensors: []kernels.Tensor{{Planes: []*device.Buffer{b}}}})
		require.NoError(t, err)
		total, err := kernels.NewControl(dev.Device())
		require.NoError(t, err)
		require.NoError(t, norm.Enqueue(s, kernels.Step{Control: total})) // reads b, which nobody holds but it
	}
	held := func() (int64, int) {
		dev.processor.mu.Lock()
		defer dev.processor.mu.Unlock()
		return dev.processor.held, len(dev.processor.queues)
	}
	settle(t, func() bool { bytes, queues := held(); return bytes == 0 && queues == 1 }, "buffers without Close")
}

// I8: a loop that makes buffers and closes none does not run out of memory.
func TestCollectedWhenShort(t *testing.T) {
	dev := NewThreads(1)
	defer dev.Close()
	free, _, err := dev.MemInfo()
	if err != nil || math.MaxInt == math.MaxInt32 {
		t.Skip("the system does not tell its memory, or has more than addresses: ", err)
	}
	for i := range 8 {
		b, err := dev.Alloc(device.Float32, int(free/4/3)) // a third of it, untouched
		require.NoError(t, err, "allocation %d", i)
		require.NotZero(t, b.Len())
	}
}

// C4, I9: what is nil or zero, and numbers of threads that nobody has.
func TestZeroDevice(t *testing.T) {
	for name, d := range map[string]*Device{"nil": nil, "zero": {}} {
		_, alloc := d.Alloc(device.Float32, 1)
		_, stream := d.NewStream()
		_, event := d.NewEvent()
		_, _, info := d.MemInfo()
		_, wrap := Wrap(d, []float32{1})
		_, compile := d.Compile(kernels.Work{})
		_, traffic := d.CompileTraffic(kernels.Work{})
		for i, err := range []error{alloc, stream, event, info, wrap, compile, traffic, d.Close(), d.DefaultStream().Synchronize()} {
			require.ErrorIs(t, err, device.ErrClosed, "%s, call %d", name, i)
		}
		require.Zero(t, d.Threads())
		require.Empty(t, d.Name())
		require.Nil(t, d.Device())
	}
	for n, want := range map[int]int{math.MaxInt: maxThreads, // C4 has 1<<40, which is none on 32 bits
		maxThreads + 1: maxThreads, maxThreads: maxThreads, 0: 1, -5: 1} {
		d := NewThreads(n)
		require.Equal(t, want, d.Threads())
		norm, err := d.Compile(kernels.Work{Program: kernels.Norm()})
		require.NoError(t, err)
		total, err := kernels.NewControl(d.Device())
		require.NoError(t, err)
		step := kernels.Step{Control: total}
		require.NoError(t, norm.Enqueue(d.DefaultStream(), step))
		require.ErrorIs(t, norm.Enqueue(nil, step), device.ErrClosed)
		other := New()
		require.ErrorIs(t, norm.Enqueue(other.DefaultStream(), step), device.ErrForeign)
		require.NoError(t, other.Close())
		require.NoError(t, d.Close())
	}
}
