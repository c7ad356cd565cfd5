// Package device is the memory, streams and events of one processor: a CPU's or a GPU's, with the same calls.
//
// A program opens a device with cpu.New or cuda.Open, then moves elements between Go slices and Buffers:
//
//	dev := cpu.New()
//	b, err := dev.Alloc(device.Float32, 3)
//	s := dev.DefaultStream()
//	err = device.Upload(s, b, []float32{1, 2, 3})
//	err = device.Download(s, host, b)
//	err = s.Synchronize() // from here on, and not earlier, host holds the elements
//
// A Stream runs its operations in order, beside the caller: a call enqueues an operation and returns. Host memory that an
// operation uses belongs to the operation until Synchronize of its stream, or of an event recorded behind it, has
// returned. Small operations on a CPU happen to be over earlier; the race detector reports a program that relies on it.
//
// Close gives something back at once, and reports its errors. What is not closed is given back after the garbage collector has
// found that the program no longer reaches it, and after the work that was enqueued on it. A buffer, stream or event keeps its
// device open, as does an optimizer.
//
// Many goroutines may use a device and everything on it. Close of anything must not be called at the same time as a
// call that uses what it closes. A nil or zero Device, Buffer, Stream or Event counts as a closed one.
//
// A device that is a GPU can record work once and run it any number of times: Device.Capture.
//
// Backends implement Processor. Device, Buffer, Stream and Event check lengths, element types, closed and foreign objects,
// and hand a Processor what has passed. Package devicetest holds a backend to this contract.
package device

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Device is one processor and its memory. Make one with cpu.New or cuda.Open.
type Device struct {
	name      string
	processor Processor
	def       *Stream
	closed    atomic.Bool
	closings  atomic.Uint64
	collector *collector
	stop      func() // stops the collector's watch
}

// New makes a Device of a backend's processor. It is called by backends. It fails as the processor does.
func New(name string, processor Processor) (*Device, error) {
	q, err := processor.NewQueue()
	if err != nil {
		return nil, fmt.Errorf("device %s: new stream: %w", name, err)
	}
	d := &Device{name: name, processor: processor, collector: &collector{}}
	d.def = &Stream{dev: d, queue: q}
	c := d.collector
	d.stop = watch(c, d, func() error {
		c.closed = true
		return processor.Close()
	})
	return d, nil
}

// Name is what the flag -device calls it: "cpu", "cuda:0". It is empty for a nil or zero Device.
func (d *Device) Name() string {
	if d == nil {
		return ""
	}
	return d.name
}

// Processor is the backend beneath, for the backend's own use. It is closed where the device is collected.
func (d *Device) Processor() Processor {
	if d == nil {
		return nil
	}
	return d.processor
}

// Closings grows with each buffer of the device that is closed, and with the device: while it stays the same, what was open is open. Whoever looks
// at many buffers often looks at it first.
func (d *Device) Closings() uint64 { return d.closings.Load() }

// gone says whether the device is closed, nil or zero.
func (d *Device) gone() bool { return d == nil || d.processor == nil || d.closed.Load() }

// Alloc returns a buffer of n elements with any contents. An n of 0 is allowed. It fails with ErrRange, ErrOutOfMemory,
// ErrUnsupported where the device has no such element type, and ErrClosed. Where memory is short it first runs the garbage
// collector, for buffers that nobody closed and nobody reaches.
func (d *Device) Alloc(t DType, n int) (*Buffer, error) {
	var mem Memory
	err := d.sized(t, n)
	if err == nil && n > 0 {
		bytes := int64(n) * int64(t.Size())
		mem, err = d.processor.Alloc(bytes)
		if errors.Is(err, ErrOutOfMemory) && d.collector.collect() {
			mem, err = d.processor.Alloc(bytes)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: alloc of %d %s: %w", d.Name(), n, t, err)
	}
	return d.buffer(t, n, mem), nil
}

// sized says whether the device can be asked for n elements.
func (d *Device) sized(t DType, n int) error {
	switch {
	case d.gone():
		return ErrClosed
	case t.Size() == 0:
		return ErrUnsupported
	case n < 0 || int64(n) > 1<<62/int64(t.Size()):
		return ErrRange
	}
	return nil
}

// Wrap makes a buffer of memory that somebody else owns, such as a framework's tensor, in place. It is called by backends,
// whose Memory for it waits in Free but frees nothing. It fails with ErrRange, ErrUnsupported and ErrClosed.
func (d *Device) Wrap(t DType, n int, mem Memory) (*Buffer, error) {
	if err := d.sized(t, n); err != nil {
		return nil, fmt.Errorf("device %s: wrap of %d %s: %w", d.Name(), n, t, err)
	}
	return d.buffer(t, n, mem), nil
}

// buffer makes a buffer, whose memory is freed when nobody reaches it.
func (d *Device) buffer(t DType, n int, mem Memory) *Buffer {
	b := &Buffer{dev: d, dtype: t, n: n, block: &block{mem: mem}}
	if mem != nil {
		b.block.stop = watch(d.collector, b.block, mem.Free)
	}
	return b
}

// NewStream makes a stream. It fails with ErrClosed, and where the device can have no more of them.
func (d *Device) NewStream() (*Stream, error) {
	if d.gone() {
		return nil, fmt.Errorf("device %s: new stream: %w", d.Name(), ErrClosed)
	}
	q, err := d.processor.NewQueue()
	if err != nil {
		return nil, fmt.Errorf("device %s: new stream: %w", d.name, err)
	}
	s := &Stream{dev: d, queue: q}
	s.stop = watch(d.collector, s, func() error { return closeQueue(q) })
	return s, nil
}

// DefaultStream is a stream that the device has from the start. It cannot be closed. It is nil for a nil or zero Device.
func (d *Device) DefaultStream() *Stream {
	if d == nil {
		return nil
	}
	return d.def
}

// NewEvent makes an event, which has not been recorded. It fails with ErrClosed, and where the device can have no more of them.
func (d *Device) NewEvent() (*Event, error) {
	if d.gone() {
		return nil, fmt.Errorf("device %s: new event: %w", d.Name(), ErrClosed)
	}
	m, err := d.processor.NewMarker()
	if err != nil {
		return nil, fmt.Errorf("device %s: new event: %w", d.name, err)
	}
	e := &Event{dev: d, marker: m}
	e.stop = watch(d.collector, e, m.Close)
	return e, nil
}

// MemInfo tells the bytes that can still be allocated, as far as is known, and the bytes that the device has. It fails with
// ErrUnavailable where the system does not tell, and ErrClosed.
func (d *Device) MemInfo() (free, total int64, err error) {
	if d.gone() {
		err = ErrClosed
	} else {
		free, total, err = d.processor.MemInfo()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("device %s: memory info: %w", d.Name(), err)
	}
	return free, total, nil
}

// Close waits for all work and gives back everything, buffers, streams and events included. All later calls, of the device
// and of what was made on it, fail with ErrClosed. It returns the first error of the work.
func (d *Device) Close() error {
	err := ErrClosed
	if !d.gone() && !d.closed.Swap(true) {
		d.closings.Add(1)
		d.stop()
		err = d.collector.close(d.processor.Close)
	}
	if err != nil {
		return fmt.Errorf("device %s: close: %w", d.Name(), err)
	}
	return nil
}
