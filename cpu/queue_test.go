package cpu

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
)

// taskFunc makes a task of a function.
type taskFunc func()

func (f taskFunc) run() { f() }

// gate is a task that says that it runs and then waits to be let through.
type gate struct{ running, open chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

func (g gate) run() {
	close(g.running)
	<-g.open
}

func newTestProcessor(t *testing.T, threads int) *processor {
	d := NewThreads(threads)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d.processor
}

// within fails where f takes longer than a minute, and returns when it is over.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s takes longer than a minute", what)
	}
}

func TestQueueOrder(t *testing.T) {
	q := newQueue(newTestProcessor(t, 1))
	g := newGate()
	q.enqueue(g, false)
	<-g.running
	var got, want []int
	for i := range depth {
		q.enqueue(taskFunc(func() { got = append(got, i) }), i%3 == 0) // small ones wait their turn too
		want = append(want, i)
	}
	close(g.open)
	q.wait()
	require.Equal(t, want, got)
}

// A small task of an idle queue has run when enqueue returns; a large one, or one behind others, has not.
func TestQueueInline(t *testing.T) {
	q := newQueue(newTestProcessor(t, 1))
	var ran atomic.Bool
	small := taskFunc(func() { ran.Store(true) })
	q.enqueue(small, true)
	if !ran.Load() {
		t.Error("small task of an idle queue was put off")
	}
	g := newGate()
	q.enqueue(g, false)
	<-g.running
	ran.Store(false)
	q.enqueue(small, true)
	if ran.Load() {
		t.Error("small task overtook")
	}
	close(g.open)
	q.wait()
	if !ran.Load() {
		t.Error("wait returned before the last task")
	}
}

// What others enqueue while a task runs inline is worked off behind it.
func TestQueueBehindInline(t *testing.T) {
	q := newQueue(newTestProcessor(t, 1))
	g := newGate()
	go q.enqueue(g, true)
	<-g.running
	var got []int
	for i := range 10 {
		q.enqueue(taskFunc(func() { got = append(got, i) }), true)
	}
	close(g.open)
	q.wait()
	require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, got)
}

// Who waits before the queue's goroutine has begun runs what was enqueued, and no more than that.
func TestQueueWaiterWorks(t *testing.T) {
	if raceEnabled {
		return // no task runs on the caller's goroutine
	}
	q := newQueue(newTestProcessor(t, 1))
	q.called = true // and does not begin
	var got []int
	q.enqueue(taskFunc(func() {
		got = append(got, 1)
		q.enqueue(taskFunc(func() { got = append(got, 2) }), true)
	}), false)
	within(t, "wait", func() { require.NoError(t, q.wait()) })
	require.Equal(t, []int{1}, got)
	q.work()
	require.Equal(t, []int{1, 2}, got)
}

// wait is for what was enqueued before it: a queue that never runs dry does not hold it up.
func TestQueueWaitEnds(t *testing.T) {
	q := newQueue(newTestProcessor(t, 1))
	var stop atomic.Bool
	var next taskFunc
	next = func() {
		if !stop.Load() {
			q.enqueue(next, false)
		}
	}
	q.enqueue(next, false)
	within(t, "wait on a busy queue", func() { require.NoError(t, q.wait()) })
	stop.Store(true)
	q.wait()
}

// Tasks that many goroutines enqueue run one at a time, and those of one goroutine in its order.
func TestQueueGoroutines(t *testing.T) {
	q := newQueue(newTestProcessor(t, 1))
	const goroutines, each = 8, 500
	var got [goroutines][]int // without a lock: the race detector watches
	total := 0
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				q.enqueue(taskFunc(func() { got[g], total = append(got[g], i), total+1 }), i%2 == 0)
				if i%100 == 0 {
					q.wait()
				}
			}
		})
	}
	wg.Wait()
	q.wait()
	require.Equal(t, goroutines*each, total)
	for g := range got {
		require.True(t, slices.IsSorted(got[g]), "goroutine %d: %v", g, got[g])
	}
}

// Later work of a queue waits for another queue's point, and for that only.
func TestQueueWaitsForMarker(t *testing.T) {
	d := newTestProcessor(t, 1)
	a, b, m := newQueue(d), newQueue(d), &marker{}
	g, behind := newGate(), newGate()
	a.enqueue(g, false)
	require.NoError(t, a.Record(m))
	a.enqueue(behind, false)
	require.NoError(t, b.Wait(m))
	ran := make(chan struct{})
	b.enqueue(taskFunc(func() { close(ran) }), true)
	select {
	case <-ran:
		t.Fatal("the queue did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	done, err := m.Done()
	require.NoError(t, err)
	require.False(t, done)
	close(g.open)
	within(t, "work behind a point that was reached", func() { <-ran })
	require.NoError(t, m.Synchronize())
	close(behind.open)
	a.wait()
}

// A marker that is recorded again is the new point, but a queue told to wait for the old one waits for that.
func TestMarkerAgain(t *testing.T) {
	d := newTestProcessor(t, 1)
	a, b, m, start := newQueue(d), newQueue(d), &marker{}, &marker{}
	require.NoError(t, a.Record(start))
	first, second := newGate(), newGate()
	a.enqueue(first, false)
	require.NoError(t, a.Record(m))
	require.NoError(t, b.Wait(m))
	ran := make(chan struct{})
	b.enqueue(taskFunc(func() { close(ran) }), true)
	a.enqueue(second, false)
	require.NoError(t, a.Record(m))
	close(first.open)
	within(t, "work behind the first record", func() { <-ran })
	done, err := m.Done()
	require.NoError(t, err)
	require.False(t, done, "the second record is not reached")
	since := make(chan time.Duration, 1)
	go func() {
		d, _ := m.Since(start)
		since <- d
	}()
	select {
	case <-since:
		t.Fatal("a time that has not come was told")
	case <-time.After(20 * time.Millisecond):
	}
	close(second.open)
	require.NoError(t, m.Synchronize())
	within(t, "time of a point that was reached", func() { require.Positive(t, <-since) })
}

// Recording and waiting for one marker at the same time, on the same queues, ends: nobody waits for a point behind himself.
func TestMarkerConcurrently(t *testing.T) {
	d := newTestProcessor(t, 1)
	a, b, m, start := newQueue(d), newQueue(d), &marker{}, &marker{}
	require.NoError(t, a.Record(start))
	require.NoError(t, a.Record(m))
	var wg sync.WaitGroup
	for _, q := range []*queue{a, b} {
		for range 2 {
			wg.Go(func() {
				for range 500 {
					q.enqueue(taskFunc(func() {}), false)
					_ = q.Record(m)
				}
			})
			wg.Go(func() {
				for range 500 {
					_ = q.Wait(m)
					_, _ = m.Since(start)
				}
			})
		}
	}
	within(t, "two queues that record and wait", func() {
		wg.Wait()
		d.drain()
		a.wait()
		b.wait()
	})
}

// A point can be waited for only once it is enqueued: a wait that came before it on its own queue would never end.
func TestRecordPublishesLast(t *testing.T) {
	q, m := newQueue(newTestProcessor(t, 1)), &marker{}
	require.NoError(t, q.Record(m))
	old := m.last.Load()
	q.mu.Lock() // nothing can be enqueued
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		_ = q.Record(m)
	}()
	time.Sleep(20 * time.Millisecond)
	early := m.last.Load() != old
	q.mu.Unlock()
	<-recorded
	if early {
		t.Error("the point could be waited for before it was enqueued")
	}
	if m.last.Load() == old {
		t.Error("the point was not recorded")
	}
}

// Copies and zeroes of any length and place, by each implementation.
func TestCopyTask(t *testing.T) {
	for _, i := range implementations() {
		for _, threads := range []int{1, 3} {
			d := newTestProcessor(t, threads)
			d.choice = choice{implementation: i}
			for _, n := range []int{0, 1, moverBytes - 1, moverBytes, moverBytes + 70, inlineBytes, inlineBytes + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5<<20 + 3, cacheBytes + 1} {
				if n > cacheBytes && (threads == 1 || testing.Short()) {
					continue
				}
				t.Run(fmt.Sprintf("%s, %d bytes, %d threads", i.name, n, threads), func(t *testing.T) {
					src, dst := make([]byte, n), make([]byte, n+2)
					for i := range src {
						src[i] = byte(i*31 + i>>8)
					}
					dst[0], dst[n+1] = 7, 9
					q := newQueue(d)
					check := func(what string, want []byte) {
						q.wait()
						if !slices.Equal(dst[1:n+1], want) || dst[0] != 7 || dst[n+1] != 9 {
							t.Errorf("%s of %d bytes went wrong, or beyond", what, n)
						}
					}
					require.NoError(t, q.copy(dst[1:n+1], src))
					check("copy", src)
					require.NoError(t, q.copy(dst[1:n+1], nil))
					check("zero", make([]byte, n))
				})
			}
		}
	}
}

// A closed buffer's memory is given back only when no queue needs it, and other queues' later work does not hold that up.
func TestFreeWaits(t *testing.T) {
	dev := NewThreads(1)
	defer dev.Close()
	s, err := dev.NewStream()
	require.NoError(t, err)
	b, err := dev.Alloc(device.Float32, 1<<20)
	require.NoError(t, err)
	g := newGate()
	s.Queue().(*queue).enqueue(g, false)
	<-g.running
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	select {
	case <-closed:
		t.Fatal("closed under a queue's feet")
	case <-time.After(20 * time.Millisecond):
	}
	close(g.open)
	within(t, "close of a buffer", func() { require.NoError(t, <-closed) })
}
