package cpu

import (
	"sync"

	"github.com/fusestep/fusestep/device"
)

// inlineBytes is the work up to which an idle queue runs it on the caller's goroutine: moving 64 KiB takes about as long as
// waking another one.
const inlineBytes = 64 << 10

// task is work on a queue.
type task interface{ run() }

// queue implements device.Queue. One goroutine works it off while there is work, and ends when there is none.
type queue struct {
	drv  *driver
	work func() // workOff: a go statement on a func value allocates nothing

	mu       sync.Mutex
	progress sync.Cond // signalled when a task has run
	waiting  []task    // first in, first out, from next on
	next     int
	running  bool   // somebody is working the queue off
	added    uint64 // tasks so far
	done     uint64 // tasks that have run
}

func newQueue(d *driver) *queue {
	q := &queue{drv: d}
	q.progress.L = &q.mu
	q.work = q.workOff
	return q
}

// enqueue adds t. A small task of an idle queue is run at once.
func (q *queue) enqueue(t task, small bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.added++
	if !q.running && small {
		q.running = true
		q.run(t)
		if q.next < len(q.waiting) { // somebody else enqueued meanwhile
			go q.work()
		} else {
			q.running = false
		}
		return
	}
	if len(q.waiting) == cap(q.waiting) { // rather than grow, use the room of what has run
		n := copy(q.waiting, q.waiting[q.next:])
		clear(q.waiting[n:])
		q.waiting, q.next = q.waiting[:n], 0
	}
	q.waiting = append(q.waiting, t)
	if !q.running {
		q.running = true
		go q.work()
	}
}

// run runs a task. The lock is held, but not while the task runs.
func (q *queue) run(t task) {
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.done++
		q.progress.Broadcast()
	}()
	t.run()
}

func (q *queue) workOff() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.next < len(q.waiting) {
		t := q.waiting[q.next]
		q.waiting[q.next] = nil
		q.next++
		q.run(t)
	}
	q.waiting, q.next = q.waiting[:0], 0
	q.running = false
}

// wait returns when everything enqueued before it has run, whatever others enqueue meanwhile.
func (q *queue) wait() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for until := q.added; q.done < until; {
		q.progress.Wait()
	}
}

// copyTask copies, or zeroes where src is nil.
type copyTask struct {
	pool     *pool
	dst, src []byte
}

func (t *copyTask) run() {
	const piece = 1 << 20
	n := (len(t.dst) + piece - 1) / piece
	t.pool.do(n, func(_, i int) {
		lo, hi := i*piece, min((i+1)*piece, len(t.dst))
		if t.src == nil {
			clear(t.dst[lo:hi])
		} else {
			copy(t.dst[lo:hi], t.src[lo:hi])
		}
	})
}

func (q *queue) copy(dst, src []byte) error {
	q.enqueue(&copyTask{q.drv.pool, dst, src}, len(dst) <= inlineBytes)
	return nil
}

func (q *queue) Upload(dst device.Span, src []byte) error   { return q.copy(bytes(dst), src) }
func (q *queue) Download(dst []byte, src device.Span) error { return q.copy(dst, bytes(src)) }
func (q *queue) Copy(dst, src device.Span) error            { return q.copy(bytes(dst), bytes(src)) }
func (q *queue) Zero(dst device.Span) error                 { return q.copy(bytes(dst), nil) }

func (q *queue) Record(m device.Marker) error {
	p := &point{reached: make(chan struct{})}
	q.enqueue(p, true)
	m.(*marker).last.Store(p) // only now: whoever waits for p, this queue included, comes behind it
	return nil
}

func (q *queue) Wait(m device.Marker) error {
	p := m.(*marker).last.Load()
	if !p.passed() {
		q.enqueue(await{p}, false)
	}
	return nil
}

func (q *queue) Synchronize() error {
	q.wait()
	return nil
}

func (q *queue) Close() error {
	q.drv.mu.Lock()
	defer q.drv.mu.Unlock()
	delete(q.drv.queues, q)
	return nil
}
