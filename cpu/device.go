// Package cpu runs fusestep on the host's processors, with the same bits as every other device.
//
// Buffers are host memory aligned to 64 bytes; large ones ask the system for huge pages. A stream is an ordered queue
// that a goroutine works off, so that the asynchronous contract is a GPU's; work that is over before another
// goroutine would have started runs at once, on the caller's. A step walks the chunks of all tensors through one
// cursor that all threads take from, so that neither one large tensor nor ten thousand small ones leave a thread idle.
package cpu

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"
	"weak"

	"github.com/fusestep/fusestep/device"
)

type checked = device.Device

// Device is the host's processors. It is a kernels.Backend.
type Device struct {
	*checked
	driver *driver
}

// New returns the device with as many threads as Go uses, runtime.GOMAXPROCS(0).
func New() *Device { return NewThreads(runtime.GOMAXPROCS(0)) }

// NewThreads returns the device with n threads, at least 1. The bits it computes do not depend on n.
func NewThreads(n int) *Device {
	drv := &driver{pool: newPool(max(n, 1)), choice: chosen(), prefetch: prefetch(),
		memories: map[*memory]bool{}, queues: map[*queue]bool{}, code: map[loopKey]weak.Pointer[loop]{}}
	dev, err := device.New("cpu", drv)
	if err != nil {
		panic(err) // a CPU driver's queues cannot fail
	}
	return &Device{dev, drv}
}

// Device is the memory, the streams and the events.
func (d *Device) Device() *device.Device { return d.checked }

// Threads is the number of threads that a step uses.
func (d *Device) Threads() int { return d.driver.pool.threads }

// Wrap makes a buffer of x's own memory, of the type that T holds: BFloat16 for uint16. While work that uses the
// buffer is under way, x must be left alone as host memory of an Upload or Download must. Closing the buffer frees nothing.
func Wrap[T device.Element](d *Device, x []T) (*device.Buffer, error) {
	t := device.DTypeOf[T]()
	n := len(x) * t.Size()
	m := &memory{drv: d.driver, b: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), n)}
	return d.checked.Wrap(t, len(x), m)
}

// driver implements device.Driver.
type driver struct {
	pool     *pool
	choice   choice
	prefetch int // 0 where loops are not to prefetch

	mu       sync.Mutex
	memories map[*memory]bool // what Close gives back
	held     int64            // bytes of them
	queues   map[*queue]bool
	code     map[loopKey]weak.Pointer[loop]
}

func (d *driver) Alloc(n int64) (device.Memory, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n >= mapAbove { // asking the system takes longer than a small allocation
		if free, total, err := d.memInfo(); err == nil && n > free {
			return nil, fmt.Errorf("%d bytes of %d free, %d in all: %w", n, free, total, device.ErrOutOfMemory)
		}
	}
	m := &memory{drv: d}
	if err := m.alloc(n); err != nil {
		return nil, err
	}
	d.memories[m] = true
	d.held += n
	return m, nil
}

func (d *driver) MemInfo() (free, total int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.memInfo()
}

// memInfo counts what was allocated as used. The system does so only when memory is touched, and would promise
// it again and again. The lock is held.
func (d *driver) memInfo() (free, total int64, err error) {
	free, total, err = memInfo("/")
	return max(min(free, total-d.held), 0), total, err
}

func (d *driver) NewQueue() (device.Queue, error) {
	q := newQueue(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queues[q] = true
	return q, nil
}

func (d *driver) NewMarker() (device.Marker, error) { return &marker{}, nil }

// drain waits for everything that has been enqueued.
func (d *driver) drain() {
	d.mu.Lock()
	queues := make([]*queue, 0, len(d.queues))
	for q := range d.queues {
		queues = append(queues, q)
	}
	d.mu.Unlock()
	for _, q := range queues {
		q.wait()
	}
}

func (d *driver) Close() error {
	d.drain()
	d.pool.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	var first error
	for m := range d.memories {
		if err := m.release(); first == nil {
			first = err
		}
	}
	clear(d.memories)
	d.held = 0
	return first
}
