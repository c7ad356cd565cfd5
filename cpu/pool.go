package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fusestep/fusestep/device"
)

// pool is the threads of a device beside the caller's. They start when they are first needed.
type pool struct {
	threads int
	start   sync.Once
	end     sync.Once
	jobs    chan *job
	scratch sync.Pool // of *job
}

func newPool(threads int) *pool {
	return &pool{threads: threads, jobs: make(chan *job, threads)}
}

// job is one loop over 0..n-1. Threads take the next index from one cursor until none is left. A helper may reach a job
// late, when it is over or when it already is another loop: it joins only while open is set, and the caller does
// not reuse a job before every helper that joined has left.
type job struct {
	next   atomic.Int64
	n      int64
	body   func(thread, i int)
	open   atomic.Bool
	active atomic.Int64
	failed atomic.Pointer[device.PanicError] // the first panic of the body
}

// loop runs the body until no index is left. A panic of the body ends the job's loop on all threads.
func (j *job) loop(thread int) {
	defer func() {
		if r := recover(); r != nil {
			j.failed.CompareAndSwap(nil, panicked(r))
			j.next.Store(j.n)
		}
	}()
	for {
		i := j.next.Add(1) - 1
		if i >= j.n {
			return
		}
		j.body(thread, int(i))
	}
}

// do runs body for every i below n, on all threads, and returns when all have run. The body is given the number of the
// thread it runs on, below pool.threads; the caller's is 0. Where the body panics on any thread, do panics with a
// *device.PanicError when all threads have left it; not all indices have run then.
func (p *pool) do(n int, body func(thread, i int)) {
	if p.threads == 1 || n <= 1 {
		for i := range n {
			body(0, i)
		}
		return
	}
	p.start.Do(func() {
		for t := 1; t < p.threads; t++ {
			go p.help(t)
		}
	})
	j, _ := p.scratch.Get().(*job)
	if j == nil {
		j = &job{}
	}
	j.n, j.body = int64(n), body
	j.next.Store(0)
	j.open.Store(true)
	for range min(p.threads, n) - 1 {
		select {
		case p.jobs <- j:
		default: // helpers are busy with another stream's work: the caller does it
		}
	}
	j.loop(0)
	j.open.Store(false)
	for j.active.Load() != 0 {
		runtime.Gosched() // at most one chunk's time
	}
	j.body = nil
	failed := j.failed.Swap(nil)
	p.scratch.Put(j)
	if failed != nil {
		panic(failed)
	}
}

// linger is how long a helper looks for the next job before it sleeps, as waking a thread takes longer than a step whose data
// lies in cache. Meanwhile it lets other goroutines run.
const linger = 50 * time.Microsecond

// next is the next job, or none where the pool is closed.
func (p *pool) next() (j *job, ok bool) {
	for began := time.Now(); time.Since(began) < linger; {
		select {
		case j, ok = <-p.jobs:
			return j, ok
		default:
			runtime.Gosched()
		}
	}
	j, ok = <-p.jobs
	return j, ok
}

func (p *pool) help(thread int) {
	for {
		j, ok := p.next()
		if !ok {
			return
		}
		j.active.Add(1)
		if j.open.Load() {
			j.loop(thread)
		}
		j.active.Add(-1)
	}
}

func (p *pool) close() { p.end.Do(func() { close(p.jobs) }) }
