package device

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Event is a point in a stream's work, to wait for and to measure time between.
type Event struct {
	dev      *Device
	marker   Marker
	recorded atomic.Bool
	closed   atomic.Bool
}

func (e *Event) check(d *Device) error {
	switch {
	case e == nil || e.closed.Load() || e.dev.closed.Load():
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

// Record enqueues reaching the event. An event that is recorded again forgets the earlier point.
func (s *Stream) Record(e *Event) error {
	err := s.use()
	if err == nil {
		err = e.check(s.dev)
	}
	if err == nil {
		err = s.queue.Record(e.marker)
	}
	if err != nil {
		return fmt.Errorf("device: record: %w", err)
	}
	e.recorded.Store(true)
	return nil
}

// Wait makes later work of this stream run after the event, which any stream of the device may have recorded.
func (s *Stream) Wait(e *Event) error {
	err := s.use()
	if err == nil {
		err = e.past(s.dev)
	}
	if err == nil {
		err = s.queue.Wait(e.marker)
	}
	if err != nil {
		return fmt.Errorf("device: wait: %w", err)
	}
	return nil
}

// Synchronize waits until the event has been reached.
func (e *Event) Synchronize() error {
	err := ErrClosed
	if e != nil {
		err = e.past(e.dev)
	}
	if err == nil {
		err = e.marker.Synchronize()
	}
	if err != nil {
		return fmt.Errorf("device: synchronize event: %w", err)
	}
	return nil
}

// Done says, without waiting, whether the event has been reached.
func (e *Event) Done() (bool, error) {
	if err := e.past(e.dev); err != nil {
		return false, fmt.Errorf("device: query event: %w", err)
	}
	return e.marker.Done()
}

// Since is the time that the device took from start to e. It waits for both.
func (e *Event) Since(start *Event) (time.Duration, error) {
	for _, x := range []*Event{start, e} {
		if err := x.past(e.dev); err != nil {
			return 0, fmt.Errorf("device: elapsed time: %w", err)
		}
		if err := x.marker.Synchronize(); err != nil {
			return 0, fmt.Errorf("device: elapsed time: %w", err)
		}
	}
	return e.marker.Since(start.marker)
}

// Close gives the event back.
func (e *Event) Close() error {
	if e.dev.closed.Load() || e.closed.Swap(true) {
		return fmt.Errorf("device: close of an event: %w", ErrClosed)
	}
	return e.marker.Close()
}
