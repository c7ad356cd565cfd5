package device

import "time"

// Processor is what a backend supplies beneath a Device: a CPU or a GPU.
//
// Its methods get arguments that have been checked: lengths fit and are not 0, nothing is
// closed, and everything belongs to this processor. A Processor and all that it makes are used by many goroutines at once, but for
// Close and Free, beside which nothing uses what they end. Errors name what the system said; the operation is added above.
//
// Memory, queues and markers are also freed and closed when the program no longer reaches the Buffer, Stream or Event: later,
// from another goroutine, after the work that was enqueued on them. So what a processor makes must not reach the Device.
type Processor interface {
	// Alloc returns n > 0 bytes, aligned to 64 at least, with any contents. It fails with ErrOutOfMemory.
	Alloc(n int64) (Memory, error)
	NewQueue() (Queue, error)
	NewMarker() (Marker, error)
	// MemInfo tells the bytes that Alloc could still give, and the bytes that the device has in all. It fails with
	// ErrUnavailable.
	MemInfo() (free, total int64, err error)
	// Close waits for all queues and gives everything back, also queues, markers and memory that were not closed. It
	// returns the first error of the work.
	Close() error
}

// Memory is a run of bytes of a device.
type Memory interface {
	// Addr is the address of the first byte, in the device's own space.
	Addr() uint64
	// Free waits for the work enqueued so far on any queue, then gives the bytes back. It is called once.
	Free() error
}

// Span is part of a Memory.
type Span struct {
	Mem    Memory
	Off, N int64 // bytes
}

// Queue runs work in the order in which it was enqueued, beside the caller. A call that enqueues may return before the work
// is done, and waits for older work where there is too much of it. An error of the work is returned by Synchronize, and by every
// later call, and the queue does no more work. Synchronize waits for what was enqueued before it, however much others enqueue
// meanwhile.
type Queue interface {
	Upload(dst Span, src []byte) error   // the caller leaves src as it is until the queue is synchronised
	Download(dst []byte, src Span) error // dst is complete when the queue has been synchronised
	Copy(dst, src Span) error            // spans of equal length that do not overlap
	Zero(dst Span) error
	Record(m Marker) error
	Wait(m Marker) error // later work of this queue runs after the point that m, of any queue, was last recorded at by now
	Synchronize() error
	Close() error // comes after Synchronize
}

// Marker is a point in a queue's work. It may be recorded again; then it is the last such point. It is not asked anything
// before it is recorded.
type Marker interface {
	Synchronize() error
	Done() (bool, error)                       // does not wait; becomes true also where nobody waits
	Since(start Marker) (time.Duration, error) // both are done, start first
	Close() error                              // queues that were told to wait for it still do
}

// Capturer is a Processor that can record work.
type Capturer interface {
	// Capture hands work a queue that records what is enqueued on it and runs nothing. The queue ends with the call. It refuses uploads and
	// downloads with ErrUnsupported, and whatever waits.
	Capture(work func(q Queue) error) (Recording, error)
}

// Recording is recorded work.
type Recording interface {
	Launch(q Queue) error // enqueues it; launches run one after the other
	Close() error         // launches that are enqueued run
}
