package devicetest

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/fusestep/fusestep/device"
)

// late is a processor that does everything as late as the contract allows: work runs when somebody waits for it, fresh memory
// holds 0xA5, memory that was given back 0xDD. fault is what it does wrong, if anything.
type late struct {
	fault  string
	mu     sync.Mutex
	queues []*lateQueue
	next   uint64
	free   int64
}

const lateTotal = 1 << 28

func newLate(fault string) device.Processor { return &late{fault: fault, next: 4096, free: lateTotal} }

type lateMemory struct {
	d    *late
	addr uint64
	b    []byte
}

func (d *late) Alloc(n int64) (device.Memory, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > d.free {
		if d.fault != "alloc of too much" {
			return nil, device.ErrOutOfMemory
		}
		n = 64
	}
	d.free -= n
	m := &lateMemory{d, d.next, bytes.Repeat([]byte{0xa5}, int(n))}
	switch d.next += (uint64(n) + 127) &^ 63; d.fault {
	case "unaligned memory":
		m.addr += 32
	case "memory given twice":
		d.next = 4096
	}
	return m, nil
}

func (d *late) MemInfo() (free, total int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, lateTotal, nil
}

func (d *late) NewQueue() (device.Queue, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := &lateQueue{d: d}
	d.queues = append(d.queues, q)
	return q, nil
}

func (d *late) NewMarker() (device.Marker, error) { return &lateMarker{d: d}, nil }

func (d *late) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runAll()
	return nil
}

func (d *late) runAll() {
	for _, q := range d.queues {
		q.runTo(q.added)
	}
}

func (m *lateMemory) Addr() uint64 { return m.addr }

func (m *lateMemory) Free() error {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if m.d.fault != "free does not wait" {
		m.d.runAll()
	}
	copy(m.b, bytes.Repeat([]byte{0xdd}, len(m.b)))
	m.d.free += int64(len(m.b))
	return nil
}

type lateQueue struct {
	d           *late
	work        []func()
	added, done int
	running     bool
}

func (q *lateQueue) enqueue(f func()) error {
	q.d.mu.Lock()
	defer q.d.mu.Unlock()
	q.work, q.added = append(q.work, f), q.added+1
	return nil
}

// runTo runs the first n of all operations there were. The processor's lock is held. A queue that waits for itself gives up; only
// the faults make one.
func (q *lateQueue) runTo(n int) {
	if q.running {
		return
	}
	q.running = true
	defer func() { q.running = false }()
	if q.d.fault == "last in, first out" {
		slices.Reverse(q.work)
	}
	for q.done < n {
		f := q.work[0]
		q.work, q.done = q.work[1:], q.done+1
		f()
	}
}

func (q *lateQueue) move(dst, src []byte) error { return q.enqueue(func() { copy(dst, src) }) }

func span(s device.Span) []byte { return s.Mem.(*lateMemory).b[s.Off : s.Off+s.N] }

func (q *lateQueue) Upload(dst device.Span, src []byte) error   { return q.move(span(dst), src) }
func (q *lateQueue) Download(dst []byte, src device.Span) error { return q.move(dst, span(src)) }
func (q *lateQueue) Copy(dst, src device.Span) error            { return q.move(span(dst), span(src)) }
func (q *lateQueue) Zero(dst device.Span) error                 { return q.enqueue(func() { clear(span(dst)) }) }

func (q *lateQueue) Synchronize() error {
	q.d.mu.Lock()
	defer q.d.mu.Unlock()
	q.runTo(q.added)
	return nil
}

func (q *lateQueue) Close() error {
	q.d.mu.Lock()
	defer q.d.mu.Unlock()
	q.d.queues = slices.DeleteFunc(q.d.queues, func(o *lateQueue) bool { return o == q })
	return nil
}

type lateMarker struct {
	d *late
	*latePoint
}

// latePoint is behind the first n operations of a queue.
type latePoint struct {
	q  *lateQueue
	n  int
	at time.Time
}

func (q *lateQueue) Record(m device.Marker) error {
	p := &latePoint{q: q, n: q.added + 1}
	m.(*lateMarker).latePoint = p
	return q.enqueue(func() { p.at = time.Now() })
}

func (q *lateQueue) Wait(marker device.Marker) error {
	m := marker.(*lateMarker)
	p := m.latePoint
	return q.enqueue(func() {
		switch {
		case q.d.fault == "wait for a later record" && m.latePoint != nil:
			p = m.latePoint
		case q.d.fault == "wait for a closed event dropped" && m.latePoint == nil:
			return
		}
		p.q.runTo(p.n)
	})
}

func (m *lateMarker) Synchronize() error {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	m.q.runTo(m.n)
	return nil
}

// Done makes a little progress at each call, as there is nobody else who does.
func (m *lateMarker) Done() (bool, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	m.q.runTo(min(m.n, m.q.done+1))
	return m.q.done >= m.n, nil
}

func (m *lateMarker) Since(start device.Marker) (time.Duration, error) {
	return m.at.Sub(start.(*lateMarker).at), nil
}

func (m *lateMarker) Close() error {
	m.latePoint = nil
	return nil
}
