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
	drv *driver

	mu      sync.Mutex
	idle    sync.Cond // signalled when running becomes false
	waiting []task    // first in, first out
	running bool      // somebody is working the queue off
}

func newQueue(d *driver) *queue {
	q := &queue{drv: d}
	q.idle.L = &q.mu
	return q
}

// enqueue adds t. A small task of an idle queue is run at once.
func (q *queue) enqueue(t task, small bool) {
	q.mu.Lock()
	if !q.running && small {
		q.running = true
		q.mu.Unlock()
		t.run()
		q.mu.Lock()
		if len(q.waiting) > 0 { // somebody else enqueued meanwhile
			go q.work()
		} else {
			q.rest()
		}
		q.mu.Unlock()
		return
	}
	q.waiting = append(q.waiting, t)
	if !q.running {
		q.running = true
		go q.work()
	}
	q.mu.Unlock()
}

// rest marks the queue idle. The lock is held.
func (q *queue) rest() {
	q.running = false
	q.idle.Broadcast()
}

func (q *queue) work() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 {
		t := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		t.run()
		q.mu.Lock()
	}
	q.waiting = nil
	q.rest()
}

// wait returns when the queue has nothing left to do.
func (q *queue) wait() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.running {
		q.idle.Wait()
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
	q.enqueue(m.(*marker).next(), true)
	return nil
}

func (q *queue) Wait(m device.Marker) error {
	p := m.(*marker).point()
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
