package main

import (
	"errors"
	"time"

	"github.com/fusestep/fusestep/device"
)

// stopwatch takes times with events on a stream, so that they are the device's own and not the caller's.
type stopwatch struct {
	stream     *device.Stream
	start, end *device.Event
}

func newStopwatch(s *device.Stream) (*stopwatch, error) {
	start, err := s.Device().NewEvent()
	if err != nil {
		return nil, err
	}
	end, err := s.Device().NewEvent()
	if err != nil {
		return nil, errors.Join(err, start.Close())
	}
	return &stopwatch{s, start, end}, nil
}

// time is the device's time for n calls, enqueued one after the other.
func (w *stopwatch) time(n int, enqueue func() error) (time.Duration, error) {
	if err := w.stream.Record(w.start); err != nil {
		return 0, err
	}
	for range n {
		if err := enqueue(); err != nil {
			return 0, err
		}
	}
	if err := w.stream.Record(w.end); err != nil {
		return 0, err
	}
	if err := w.stream.Synchronize(); err != nil {
		return 0, err
	}
	return w.end.Since(w.start)
}

func (w *stopwatch) Close() error { return errors.Join(w.start.Close(), w.end.Close()) }
