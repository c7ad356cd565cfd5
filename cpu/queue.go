package cpu

import (
	"math"
	"runtime/debug"
	"sync"

	"github.com/fusestep/fusestep/device"
)

const (
	// inlineBytes is the work up to which an idle queue runs it on the caller's goroutine: moving 64 KiB takes about as long
	// as waking another one.
	inlineBytes = 64 << 10
	// depth is the tasks that wait on a queue before enqueue waits for the oldest. It bounds the memory that steps hold which
	// nobody has waited for.
	depth = 256
)

// task is work on a queue.
type task interface{ run() }

// queue implements device.Queue. One goroutine works it off while there is work, and ends when there is none. Who waits for the queue before that
// goroutine has begun works it off in its place: a caller who steps and synchronises needs no other thread to be woken, twice, which takes
// longer than a short step, and longer yet where other threads spin on the processors.
//
// A task that panics fails the queue: Synchronize and every later call return the panic as a device.PanicError, and
// tasks that have not run never do. Points are reached all the same, and hand the error on to who waits for them, so nobody waits
// for ever.
//
// In race builds the methods that hold the lock are hidden from the race detector, which would take the lock for an order
// between a task and a caller who has not synchronised; they tell it the order that is meant. See race.go.
type queue struct {
	proc *processor
	work func() // workOff: a go statement on a func value allocates nothing

	mu       sync.Mutex
	progress sync.Cond // signalled when a task has run
	ring     [depth]task
	first    int    // the oldest task that waits
	waiting  int    // how many do
	running  bool   // somebody is working the queue off
	called   bool   // a goroutine that is to do so has not begun
	added    uint64 // tasks so far
	done     uint64 // tasks that have run
	err      error  // of a task
}

func newQueue(d *processor) *queue {
	q := &queue{proc: d}
	q.progress.L = &q.mu
	q.work = q.workOff
	return q
}

// enqueue adds t. A small task of an idle queue is run before enqueue returns: on the caller's goroutine, but in race builds on the
// queue's, where the race detector tells it from the caller. A caller waits while the queue is full; that ends, as
// whatever a task waits for was enqueued before it.
//
//go:norace
func (q *queue) enqueue(t task, small bool) error {
	small = small || q.proc.pool.within
	hide()
	defer unhide()
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.waiting == depth {
		q.progress.Wait()
	}
	if q.err != nil {
		unhide()
		acquire(&q.done)
		hide()
		return q.err
	}
	q.added++
	mine, idle := q.added, !q.running && q.waiting == 0
	if idle && small && !raceEnabled {
		q.running = true
		q.run(t)
		q.leave()
		return q.err
	}
	entry := &q.ring[(q.first+q.waiting)%depth]
	*entry = t
	q.waiting++
	unhide()
	release(entry)
	if !q.running {
		q.call()
	}
	hide()
	for raceEnabled && idle && small && q.done < mine {
		q.progress.Wait()
	}
	if raceEnabled && q.proc.pool.within && q.done >= mine { // which the caller may rely on
		unhide()
		acquire(&q.done)
		hide()
	}
	return nil
}

// run runs a task. The lock is held, but not while the task runs.
//
//go:norace
func (q *queue) run(t task) {
	failed := q.err
	q.mu.Unlock()
	unhide()
	acquire(&q.done) // earlier tasks
	var err error
	if failed == nil {
		err = try(t)
	} else if p, ok := t.(*point); ok {
		p.err = failed
		p.run()
	}
	releaseMerge(&q.done)
	hide()
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	q.done++
	q.progress.Broadcast()
}

// try runs a task and returns its panic, or the error of the queue that it waited for.
func try(t task) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
	}()
	t.run()
	if a, ok := t.(await); ok {
		return a.err
	}
	return nil
}

// panicked makes an error of what recover returned. It is called while the goroutine's stack is still the panic's.
func panicked(r any) *device.PanicError {
	if e, ok := r.(*device.PanicError); ok { // of another goroutine, which has said where
		return e
	}
	return &device.PanicError{Value: r, Stack: string(debug.Stack())}
}

//go:norace
func (q *queue) workOff() {
	hide()
	defer unhide()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.called = false; !q.running {
		q.workUntil(math.MaxUint64)
	}
}

// call starts a goroutine that works the queue off, unless one has been started that has not begun. The lock is held.
//
//go:norace
func (q *queue) call() {
	if !q.called {
		q.called = true
		go q.work()
	}
}

// workUntil works the queue off until so many tasks have run, or none waits. The lock is held, and nobody else works it off.
//
//go:norace
func (q *queue) workUntil(until uint64) {
	q.running = true
	for q.waiting > 0 && q.done < until {
		entry := &q.ring[q.first]
		t := *entry
		*entry = nil
		unhide()
		acquire(entry)
		hide()
		q.first = (q.first + 1) % depth
		q.waiting--
		q.run(t)
	}
	q.leave()
}

// leave ends working the queue off. The lock is held.
//
//go:norace
func (q *queue) leave() {
	if q.running = false; q.waiting > 0 {
		q.call()
	}
}

// wait returns when everything enqueued before it has run, whatever others enqueue meanwhile. It returns the queue's error.
//
//go:norace
func (q *queue) wait() error {
	hide()
	q.mu.Lock()
	for until := q.added; q.done < until; {
		if q.running || raceEnabled {
			q.progress.Wait()
		} else {
			q.workUntil(until)
		}
	}
	err := q.err
	q.mu.Unlock()
	unhide()
	acquire(&q.done)
	return err
}

// failure is the queue's error, without waiting.
//
//go:norace
func (q *queue) failure() error {
	hide()
	q.mu.Lock()
	err := q.err
	q.mu.Unlock()
	unhide()
	if err != nil {
		acquire(&q.done)
	}
	return err
}

func (q *queue) copy(dst, src []byte) error {
	return q.enqueue(q.proc.newCopy(dst, src), len(dst) <= inlineBytes)
}

func (q *queue) Upload(dst device.Span, src []byte) error   { return q.copy(bytes(dst), src) }
func (q *queue) Download(dst []byte, src device.Span) error { return q.copy(dst, bytes(src)) }
func (q *queue) Copy(dst, src device.Span) error            { return q.copy(bytes(dst), bytes(src)) }
func (q *queue) Zero(dst device.Span) error                 { return q.copy(bytes(dst), nil) }

func (q *queue) Record(m device.Marker) error {
	p := &point{reached: make(chan struct{})}
	if err := q.enqueue(p, true); err != nil {
		return err
	}
	m.(*marker).last.Store(p) // only now: whoever waits for p, this queue included, comes behind it
	return nil
}

func (q *queue) Wait(m device.Marker) error {
	p := m.(*marker).last.Load()
	if p.passed() && p.err == nil {
		return q.failure()
	}
	return q.enqueue(await{p}, false)
}

func (q *queue) Synchronize() error { return q.wait() }

func (q *queue) Close() error {
	q.proc.mu.Lock()
	defer q.proc.mu.Unlock()
	delete(q.proc.queues, q)
	return nil
}
