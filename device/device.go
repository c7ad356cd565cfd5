// Package device is memory, streams and events of one processor, whichever it is: the contract that fusestep's backends
// (packages cpu and device/cuda) implement and that everything above them uses.
//
// The checks of arguments stand here, once, above all backends: Device, Buffer, Stream and Event check lengths, element
// types, closed and foreign objects, and hand what passed to a Driver. Work is asynchronous and ordered, as on a GPU: a
// Stream runs its operations one after the other, beside the caller, who must not touch host memory that an operation
// uses until Stream.Synchronize of that stream has returned.
//
// Many goroutines may use a device and everything on it; only Close, of anything, must not be called at the same time as a
// call that uses what it closes. A nil Buffer, Stream or Event counts as a closed one. Package devicetest holds a backend to
// this contract.
package device

import (
	"fmt"
	"sync/atomic"
)

// Device is one processor and its memory. Make one with cpu.New or cuda.Open.
type Device struct {
	name   string
	driver Driver
	def    *Stream
	closed atomic.Bool
}

// New makes a Device of a backend's driver. It is called by backends. It fails as the driver does.
func New(name string, driver Driver) (*Device, error) {
	d := &Device{name: name, driver: driver}
	var err error
	if d.def, err = d.NewStream(); err != nil {
		return nil, err
	}
	return d, nil
}

// Name is what -device calls it: "cpu", "cuda:0".
func (d *Device) Name() string { return d.name }

// Driver is the backend beneath, for the backend's own use.
func (d *Device) Driver() Driver { return d.driver }

// Alloc returns a buffer of n elements with any contents. An n of 0 is allowed. It fails with ErrRange, ErrOutOfMemory,
// ErrUnsupported where the device has no such element type, and ErrClosed.
func (d *Device) Alloc(t DType, n int) (*Buffer, error) {
	var mem Memory
	err := d.sized(t, n)
	if err == nil && n > 0 {
		mem, err = d.driver.Alloc(int64(n) * int64(t.Size()))
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: alloc of %d %s: %w", d.name, n, t, err)
	}
	return &Buffer{dev: d, dtype: t, n: n, block: &block{mem: mem}}, nil
}

// sized says whether the device can be asked for n elements.
func (d *Device) sized(t DType, n int) error {
	switch {
	case d.closed.Load():
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
		return nil, fmt.Errorf("device %s: wrap of %d %s: %w", d.name, n, t, err)
	}
	return &Buffer{dev: d, dtype: t, n: n, block: &block{mem: mem}}, nil
}

// NewStream makes a stream. It fails with ErrClosed, and where the device can have no more of them.
func (d *Device) NewStream() (*Stream, error) {
	if d.closed.Load() {
		return nil, fmt.Errorf("device %s: new stream: %w", d.name, ErrClosed)
	}
	q, err := d.driver.NewQueue()
	if err != nil {
		return nil, fmt.Errorf("device %s: new stream: %w", d.name, err)
	}
	return &Stream{dev: d, queue: q}, nil
}

// DefaultStream is a stream that the device has from the start. It cannot be closed.
func (d *Device) DefaultStream() *Stream { return d.def }

// NewEvent makes an event, which has not been recorded. It fails with ErrClosed, and where the device can have no more of them.
func (d *Device) NewEvent() (*Event, error) {
	if d.closed.Load() {
		return nil, fmt.Errorf("device %s: new event: %w", d.name, ErrClosed)
	}
	m, err := d.driver.NewMarker()
	if err != nil {
		return nil, fmt.Errorf("device %s: new event: %w", d.name, err)
	}
	return &Event{dev: d, marker: m}, nil
}

// MemInfo tells the bytes that can still be allocated, as far as is known, and the bytes that the device has. It fails with
// ErrUnavailable where the system does not tell, and ErrClosed.
func (d *Device) MemInfo() (free, total int64, err error) {
	if d.closed.Load() {
		err = ErrClosed
	} else {
		free, total, err = d.driver.MemInfo()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("device %s: memory info: %w", d.name, err)
	}
	return free, total, nil
}

// Close waits for all work and gives back everything, buffers, streams and events included. All later calls, of the device
// and of what was made on it, fail with ErrClosed. It returns the first error of the work.
func (d *Device) Close() error {
	err := ErrClosed
	if !d.closed.Swap(true) {
		err = d.driver.Close()
	}
	if err != nil {
		return fmt.Errorf("device %s: close: %w", d.name, err)
	}
	return nil
}
