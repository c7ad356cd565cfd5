// Package cpu runs fusestep on the host's processors, with the same bits as every other device.
//
//	dev := cpu.New()
//	w, err := dev.Alloc(device.Float32, 1000) // or cpu.Wrap(dev, slice), in place
//	opt, err := optim.New(dev, optim.DefaultAdamW(), params)
//
// New is all that most programs need. A step uses at most as many threads as Go does, or as NewThreads says, and of those as many
// as are fastest. Package device says how buffers and streams work; a Device of this package is one that optimizers can run on.
//
// A program that is finished with a device calls Close. A device that nobody reaches is closed by the garbage collector, threads
// included.
package cpu

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"
	"weak"

	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/device"
)

// Device is the host's processors. It is a kernels.Backend, so optim.New takes it. Make one with New. A nil or zero Device counts as
// a closed one.
//
// Its buffers are host memory aligned to 64 bytes; large ones ask the system for huge pages. A stream is a queue that a goroutine
// works off. Small work, up to 64 KiB copied or 100,000 elements updated, runs on the caller's goroutine if the stream has nothing
// else to do, as waking another takes longer. At most 256 operations wait on a stream: enqueueing another waits for the oldest. A
// panic in a stream's work is a device.PanicError of that stream, and of those that wait for its events.
type Device struct {
	dev       *device.Device
	processor *processor
}

// New returns the device with as many threads as Go uses, runtime.GOMAXPROCS(0).
func New() *Device { return NewThreads(runtime.GOMAXPROCS(0)) }

// maxThreads is beyond what any machine of one memory has, and bounds what a device allocates for its threads.
const maxThreads = 4096

// NewThreads is New with n threads. An n below 1 means 1, one above 4,096 means 4,096; Device.Threads tells. The bits that a
// device computes do not depend on n.
func NewThreads(n int) *Device { return newDevice(newPool(n)) }

// NewWithin is NewThreads for who waits for all work at once: what is enqueued on an idle stream has run when the call that enqueues it returns, on the
// caller's thread, and no other has to be woken for that.
//
// Lend is nil, or lends a step threads, all of n or none: it calls work(0) on the thread that it is called on and at the same time work(i) of other i
// below n, each at most once and on a thread of its own, as many as there are, and returns when all have returned.
func NewWithin(n int, lend func(n int, work func(i int))) *Device {
	p := newPool(n)
	p.within, p.lend = true, lend
	return newDevice(p)
}

func newDevice(p *pool) *Device {
	proc := &processor{pool: p, choice: chosen(),
		memories: map[*memory]bool{}, queues: map[*queue]bool{}, code: map[loopKey]weak.Pointer[loop]{}, movers: map[mover]*exec.Code{}}
	dev, err := device.New("cpu", proc)
	if err != nil {
		panic(err) // the CPU's queues cannot fail
	}
	return &Device{dev, proc}
}

// Device is the memory, the streams and the events, as package device knows them. It is nil for a nil or zero Device.
func (d *Device) Device() *device.Device {
	if d == nil {
		return nil
	}
	return d.dev
}

// Threads is the number of threads that a step uses, 0 for a nil or zero Device.
func (d *Device) Threads() int {
	if d == nil || d.processor == nil {
		return 0
	}
	return d.processor.pool.threads
}

// Name is "cpu".
func (d *Device) Name() string { return d.Device().Name() }

// Alloc returns a buffer of n elements with any contents. An n of 0 is allowed. It fails with device.ErrRange,
// device.ErrOutOfMemory and device.ErrClosed.
func (d *Device) Alloc(t device.DType, n int) (*device.Buffer, error) { return d.Device().Alloc(t, n) }

// DefaultStream is a stream that the device has from the start. It closes with the device.
func (d *Device) DefaultStream() *device.Stream { return d.Device().DefaultStream() }

// NewStream makes a stream, which runs beside the others. It fails with device.ErrClosed.
func (d *Device) NewStream() (*device.Stream, error) { return d.Device().NewStream() }

// NewEvent makes an event, which has not been recorded. It fails with device.ErrClosed.
func (d *Device) NewEvent() (*device.Event, error) { return d.Device().NewEvent() }

// Capture fails with device.ErrUnsupported: a CPU records nothing. It fails with device.ErrClosed.
func (d *Device) Capture(work func(s *device.Stream) error) (*device.Graph, error) {
	return d.Device().Capture(work)
}

// MemInfo tells the bytes that can still be allocated, and the bytes that the process may use in all: the machine's, or the least limit of
// its control groups. It fails with device.ErrUnavailable where the system does not tell, and device.ErrClosed.
func (d *Device) MemInfo() (free, total int64, err error) { return d.Device().MemInfo() }

// Close waits for all work and gives back everything, buffers, streams, events and threads included. All later calls fail
// with device.ErrClosed. It returns the first error of the work.
func (d *Device) Close() error { return d.Device().Close() }

// Wrap makes a buffer of x's own memory, of the type that T holds: BFloat16 for uint16. Closing the buffer frees nothing. It fails
// with device.ErrClosed.
//
// Between enqueueing work on the buffer and synchronising, x must not be written, nor read where the work writes it. The race
// detector reports a program that does, whatever the length. Wrapped twice, or in two optimizers, x is still one memory.
func Wrap[T device.Element](d *Device, x []T) (*device.Buffer, error) {
	return d.WrapAt(device.DTypeOf[T](), len(x), unsafe.Pointer(unsafe.SliceData(x)))
}

// processor implements device.Processor.
type processor struct {
	pool   *pool
	choice choice

	mu       sync.Mutex
	memories map[*memory]bool // what Close gives back
	held     int64            // bytes of them
	queues   map[*queue]bool
	code     map[loopKey]weak.Pointer[loop]
	movers   map[mover]*exec.Code // nil where none can be made
}

func (d *processor) Alloc(n int64) (device.Memory, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n >= mapAbove { // asking the system takes longer than a small allocation
		if free, total, err := d.memInfo(); err == nil && n > free {
			return nil, fmt.Errorf("%d bytes of %d free, %d in all: %w", n, free, total, device.ErrOutOfMemory)
		}
	}
	m := &memory{proc: d}
	if err := m.alloc(n); err != nil {
		return nil, err
	}
	d.memories[m] = true
	d.held += n
	return m, nil
}

func (d *processor) MemInfo() (free, total int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.memInfo()
}

// memInfo counts what was allocated as used. The system does so only when memory is touched, and would promise
// it again and again. The lock is held.
func (d *processor) memInfo() (free, total int64, err error) {
	free, total, err = memInfo("/")
	return max(min(free, total-d.held), 0), total, err
}

func (d *processor) NewQueue() (device.Queue, error) {
	q := newQueue(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queues[q] = true
	return q, nil
}

// enqueue puts a task on a stream, which must be of this processor.
func (d *processor) enqueue(s *device.Stream, t task, small bool) error {
	if err := s.Check(s.Device()); err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	q, ok := s.Queue().(*queue)
	if !ok || q.proc != d {
		return fmt.Errorf("cpu: stream of device %s %w", s.Device().Name(), device.ErrForeign)
	}
	return q.enqueue(t, small)
}

func (d *processor) NewMarker() (device.Marker, error) { return &marker{}, nil }

// drain waits for everything that has been enqueued and returns its first error.
func (d *processor) drain() (first error) {
	d.mu.Lock()
	queues := make([]*queue, 0, len(d.queues))
	for q := range d.queues {
		queues = append(queues, q)
	}
	d.mu.Unlock()
	for _, q := range queues {
		if err := q.wait(); first == nil {
			first = err
		}
	}
	return first
}

func (d *processor) Close() error {
	first := d.drain()
	d.pool.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for m := range d.memories {
		if err := m.release(); first == nil {
			first = err
		}
	}
	clear(d.memories)
	d.held = 0
	return first
}
