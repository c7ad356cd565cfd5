package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fusestep/fusestep/device"
)

// pool is the threads of a device beside the caller's. They start when they are first needed, or are lent for each loop.
type pool struct {
	threads int
	within  bool                               // who enqueues runs the work: see NewWithin
	lend    func(n int, work func(thread int)) // or nil
	start   sync.Once
	end     sync.Once
	jobs    chan *job
	scratch sync.Pool // of *job
}

func newPool(n int) *pool {
	n = min(max(n, 1), maxThreads)
	return &pool{threads: n, jobs: make(chan *job, n)}
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
	left   chan struct{}                     // the last of them has left
	failed atomic.Pointer[device.PanicError] // the first panic of the body
}

// crew is who works at a loop: so many threads, and a reserve that is called to it as soon as it looks to take longer than a time.
type crew struct {
	threads, reserve int
	limit            time.Duration
}

// loop runs the body until no index is left. A panic of the body ends the job's loop on all threads.
func (j *job) loop(thread int) {
	defer j.recovered()
	for {
		i := j.next.Add(1) - 1
		if i >= j.n {
			return
		}
		j.body(thread, int(i))
	}
}

// lead is loop of the caller, and says whether it has called the reserve. A fifth of the time must have passed to tell.
func (j *job) lead(p *pool, c crew) (called bool) {
	defer j.recovered()
	for began := time.Now(); !called && j.next.Load() < j.n; {
		if past := time.Since(began); past > c.limit/5 && float64(past)*float64(j.n) > float64(c.limit)*float64(j.next.Load()) {
			called = true
			p.call(j, c.reserve)
		} else if i := j.next.Add(1) - 1; i < j.n {
			j.body(0, int(i))
		}
	}
	j.loop(0)
	return called
}

func (j *job) recovered() {
	if r := recover(); r != nil {
		j.failed.CompareAndSwap(nil, panicked(r))
		j.next.Store(j.n)
	}
}

// call invites so many helpers to a job.
func (p *pool) call(j *job, helpers int) {
	for range helpers {
		select {
		case p.jobs <- j:
		default: // helpers are busy with another stream's work: the caller does it
			return
		}
	}
}

// do runs body for every i below n, on all threads, and returns when all have run. The body is given the number of the
// thread it runs on, below pool.threads; the caller's is 0. Where the body panics on any thread, do panics with a
// *device.PanicError when all threads have left it; not all indices have run then.
func (p *pool) do(n int, body func(thread, i int)) { p.on(crew{threads: p.threads}, n, body) }

// on is do by a crew, and helpers that come late from another loop. It says whether the reserve was called.
func (p *pool) on(c crew, n int, body func(thread, i int)) (called bool) {
	c.threads = min(c.threads, n)
	c.reserve = max(min(c.reserve, n-c.threads), 0)
	if c.threads+c.reserve <= 1 {
		for i := range n {
			body(0, i)
		}
		return false
	}
	j, _ := p.scratch.Get().(*job)
	if j == nil {
		j = &job{left: make(chan struct{}, 1)}
	}
	j.n, j.body = int64(n), body
	j.next.Store(0)
	if p.lend != nil {
		p.lend(p.threads, j.loop)
		j.loop(0) // nothing is left, unless nobody has called it
	} else {
		called = p.own(j, c)
	}
	j.body = nil
	failed := j.failed.Swap(nil)
	p.scratch.Put(j)
	if failed != nil {
		panic(failed)
	}
	return called
}

// own runs a job's loop on the caller's thread and on the pool's.
func (p *pool) own(j *job, c crew) (called bool) {
	p.start.Do(func() {
		for t := 1; t < p.threads; t++ {
			go p.help(t)
		}
	})
	j.open.Store(true)
	p.call(j, c.threads-1)
	if c.reserve > 0 {
		called = j.lead(p, c)
	} else {
		j.loop(0)
	}
	j.open.Store(false)
	j.wait()
	return called
}

// wait returns when all helpers have left. That is at most one chunk's time, but where a helper has lost its processor to another program's thread:
// then the caller sleeps, as the helper may be waiting for the processor that it has.
func (j *job) wait() {
	for began := time.Now(); j.active.Load() != 0; {
		if time.Since(began) < linger {
			runtime.Gosched()
		} else {
			<-j.left // maybe an earlier job's
		}
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
		if j.active.Add(-1) == 0 {
			select {
			case j.left <- struct{}{}:
			default:
			}
		}
	}
}

func (p *pool) close() { p.end.Do(func() { close(p.jobs) }) }
