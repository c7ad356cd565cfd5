package device

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
)

// Event is a point in a stream's work, to wait for and to measure time between.
type Event struct {
	dev      *Device
	marker   Marker
	recorded atomic.Bool
	closed   atomic.Bool
	stop     func() // stops the collector's watch
}

// check says whether the event can be used on the device now: nil, ErrClosed or ErrForeign.
func (e *Event) check(d *Device) error {
	switch {
	case e.zero() || e.closed.Load() || e.dev.closed.Load():
		return fmt.Errorf("event is %w", ErrClosed)
	case e.dev != d:
		return fmt.Errorf("event of device %s %w", e.dev.name, ErrForeign)
	}
	return nil
}

// past checks an event that must have been recorded.
func (e *Event) past(d *Device) error {
	if err := e.check(d); err != nil {
		return err
	}
	if !e.recorded.Load() {
		return ErrNotRecorded
	}
	return nil
}

// own is past on the event's own device.
func (e *Event) own() error {
	if e.zero() {
		return e.check(nil)
	}
	return e.past(e.dev)
}

// Marker is the backend's part of the event, for the backend's own use. It is nil for a nil or zero Event.
func (e *Event) Marker() Marker {
	if e.zero() {
		return nil
	}
	return e.marker
}

// zero says whether there is no event, nil or the zero value.
func (e *Event) zero() bool { return e == nil || e.dev == nil }

// Record enqueues reaching the event. An event that is recorded again forgets the earlier point, but a stream that was told to wait
// for that still does. It fails with ErrClosed and ErrForeign.
func (s *Stream) Record(e *Event) error {
	err := s.use()
	if err == nil {
		err = e.check(s.dev)
	}
	if err == nil {
		err = s.queue.Record(e.marker)
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(e)
	if err != nil {
		return fmt.Errorf("device: record: %w", err)
	}
	e.recorded.Store(true)
	return nil
}

// Wait makes later work of this stream run after the event, as last recorded before this call by any stream of the device.
// It fails with ErrNotRecorded, ErrClosed and ErrForeign.
func (s *Stream) Wait(e *Event) error {
	err := s.use()
	if err == nil {
		err = e.past(s.dev)
	}
	if err == nil {
		err = s.queue.Wait(e.marker)
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(e)
	if err != nil {
		return fmt.Errorf("device: wait: %w", err)
	}
	return nil
}

// Synchronize waits until the event has been reached. It returns an error of the work before the event, where the backend
// knows one by then. It fails with ErrNotRecorded and ErrClosed.
func (e *Event) Synchronize() error {
	err := e.own()
	if err == nil {
		err = e.marker.Synchronize()
	}
	runtime.KeepAlive(e)
	if err != nil {
		return fmt.Errorf("device: synchronize event: %w", err)
	}
	return nil
}

// Done says, without waiting, whether the event has been reached. It fails with ErrNotRecorded and ErrClosed.
func (e *Event) Done() (done bool, err error) {
	if err = e.own(); err == nil {
		done, err = e.marker.Done()
	}
	runtime.KeepAlive(e)
	if err != nil {
		return false, fmt.Errorf("device: query event: %w", err)
	}
	return done, nil
}

// Since is the time that the device took from start, which it reached first, to e. It waits for both. It fails with
// ErrNotRecorded, ErrClosed and ErrForeign.
func (e *Event) Since(start *Event) (t time.Duration, err error) {
	if err = e.own(); err == nil {
		err = start.past(e.dev)
	}
	if err == nil {
		err = start.marker.Synchronize()
	}
	if err == nil {
		err = e.marker.Synchronize()
	}
	if err == nil {
		t, err = e.marker.Since(start.marker)
	}
	runtime.KeepAlive(e)
	runtime.KeepAlive(start)
	if err != nil {
		return 0, fmt.Errorf("device: elapsed time: %w", err)
	}
	return t, nil
}

// Close gives the event back. A stream that was told to wait for it still does. A second Close fails with ErrClosed.
func (e *Event) Close() error {
	err := ErrClosed
	if !e.zero() && !e.dev.closed.Load() && !e.closed.Swap(true) {
		e.stop()
		err = e.marker.Close()
	}
	if err != nil {
		return fmt.Errorf("device: close event: %w", err)
	}
	return nil
}
