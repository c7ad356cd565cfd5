package cpu

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lend lends threads, but for the last.
func lend(n int, work func(int)) {
	var wg sync.WaitGroup
	for i := 1; i < n-1; i++ {
		wg.Go(func() { work(i) })
	}
	work(0)
	wg.Wait()
}

// Every index runs once, on a thread's number below threads, and all have run when do returns.
func TestPool(t *testing.T) {
	for k, threads := range []int{1, 2, 3, 8, 1, 2, 3, 8} {
		p := newPool(threads)
		if k >= 4 {
			p.lend = lend
		}
		for _, n := range []int{0, 1, 2, 3, 7, 8, 9, 1000} {
			t.Run(fmt.Sprintf("%d of %d threads, lent %v", n, threads, k >= 4), func(t *testing.T) {
				for range 50 {
					ran := make([]int, n)        // each by one thread only: the race detector watches,
					busy := make([]int, threads) // and the same for a thread's number
					p.do(n, func(thread, i int) {
						ran[i]++
						busy[thread]++
					})
					total := 0
					for i, r := range ran {
						if r != 1 {
							t.Fatalf("index %d of %d ran %d times, want 1", i, n, r)
						}
					}
					for _, b := range busy {
						total += b
					}
					if total != n {
						t.Fatalf("%d runs, want %d", total, n)
					}
				}
			})
		}
		p.close()
	}
}

// Threads that were to be lent, and are not, leave nothing undone.
func TestPoolLentNone(t *testing.T) {
	p := newPool(2)
	p.lend = func(int, func(int)) {}
	ran := make([]int, 9)
	p.do(len(ran), func(thread, i int) { ran[i] += 1 + thread })
	for i, r := range ran {
		if r != 1 {
			t.Errorf("index %d ran %d times, want 1, on thread 0", i, r)
		}
	}
}

// All threads take part, each with a number of its own: a loop whose indices wait for each other ends.
func TestPoolTogether(t *testing.T) {
	const threads = 4
	p := newPool(threads)
	defer p.close()
	for range 20 {
		var here sync.WaitGroup
		here.Add(threads)
		var on [threads]atomic.Int32
		within(t, "a loop on four threads", func() {
			p.do(threads, func(thread, _ int) {
				on[thread].Add(1)
				here.Done()
				here.Wait()
			})
		})
		for i := range on {
			if n := on[i].Load(); n != 1 {
				t.Fatalf("thread %d ran %d indices, want 1", i, n)
			}
		}
	}
}

// Six streams run short loops at once, so that a helper often takes a job whose loop is over, or that is another loop by then. Such a
// helper runs no index twice, runs nothing after the end, and uses no other thread's number.
func TestPoolConcurrently(t *testing.T) {
	p := newPool(4)
	defer p.close()
	var wg sync.WaitGroup
	for stream := range 6 {
		wg.Go(func() {
			for round := range 500 {
				n := 1 + (stream+round)%9
				ran, over := make([]int, n), atomic.Bool{}
				busy := make([]int, p.threads)
				p.do(n, func(thread, i int) {
					if over.Load() {
						t.Errorf("stream %d, round %d: index %d ran after the end", stream, round, i)
					}
					ran[i]++
					busy[thread]++
				})
				over.Store(true)
				for i, r := range ran {
					if r != 1 {
						t.Errorf("stream %d, round %d: index %d of %d ran %d times, want 1", stream, round, i, n, r)
					}
				}
			}
		})
	}
	wg.Wait()
}

// A helper gets to its invitation when the loop is over, and finds nothing; when it is the next loop, it helps with that.
func TestPoolLateHelper(t *testing.T) {
	p := newPool(2)
	p.start.Do(func() {}) // no helpers yet
	over := 0
	p.do(3, func(thread, _ int) {
		if thread != 0 {
			t.Errorf("thread %d, want 0", thread)
		}
		over++
	})
	if over != 3 || len(p.jobs) != 1 {
		t.Fatalf("%d runs with %d invitations left, want 3 and 1", over, len(p.jobs))
	}
	stale := <-p.jobs
	p.jobs <- stale
	go p.help(1)
	within(t, "a late helper", func() {
		for len(p.jobs) > 0 || stale.active.Load() > 0 {
			time.Sleep(time.Millisecond)
		}
	})
	if over != 3 || stale.body != nil {
		t.Errorf("the late helper ran something: %d runs, want 3", over)
	}
	var both sync.WaitGroup
	both.Add(2)
	within(t, "a loop on two threads", func() {
		p.do(2, func(int, int) {
			both.Done()
			both.Wait()
		})
	})
	p.close()
}

// close ends the helpers, also of a pool that never had any.
func TestPoolClose(t *testing.T) {
	newPool(8).close()
	before := runtime.NumGoroutine()
	for range 10 {
		p := newPool(8)
		p.do(100, func(int, int) {})
		p.close()
	}
	within(t, "the end of the helpers", func() {
		for runtime.NumGoroutine() > before+1 { // within's own
			time.Sleep(time.Millisecond)
		}
	})
}

func TestPoolAllocates(t *testing.T) {
	p := newPool(2)
	defer p.close()
	body := func(int, int) {}
	// The count is the process's: what earlier tests have left to be freed adds to it now and then.
	n := testing.AllocsPerRun(100, func() { p.do(10, body) })
	for try := 0; n >= 1 && try < 5; try++ {
		n = min(n, testing.AllocsPerRun(100, func() { p.do(10, body) }))
	}
	if n >= 1 {
		t.Errorf("a loop allocates %v times, want 0", n)
	}
}
