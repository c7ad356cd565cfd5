package device

import (
	"fmt"
	"runtime"
	"sync/atomic"
)

// Graph is work of a device that was recorded once, to be run any number of times: a CUDA graph.
type Graph struct {
	dev       *Device
	recording Recording
	closed    atomic.Bool
	stop      func() // stops the collector's watch
}

// Capture has work enqueue on a stream, which is open during the call alone, and records what that is instead of running it. Copies between
// buffers, zeroes and kernels are recorded, with the buffers as they are now: a launch uses them, so they must be open then. Uploads and
// downloads, and whatever waits, fail.
//
// It fails with ErrUnsupported where the device records nothing, as a CPU does, with ErrClosed, and with work's error.
func (d *Device) Capture(work func(s *Stream) error) (*Graph, error) {
	var err error
	c, ok := d.Processor().(Capturer)
	switch {
	case d.gone():
		err = ErrClosed
	case !ok:
		err = ErrUnsupported
	}
	var r Recording
	if err == nil {
		r, err = c.Capture(func(q Queue) error {
			s := &Stream{dev: d, queue: q}
			defer s.closed.Store(true)
			return work(s)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: capture: %w", d.Name(), err)
	}
	g := &Graph{dev: d, recording: r}
	g.stop = watch(d.collector, g, r.Close)
	return g, nil
}

// zero says whether there is no graph, nil or the zero value.
func (g *Graph) zero() bool { return g == nil || g.dev == nil }

// check says whether the graph can be used on the device now: nil, ErrClosed or ErrForeign.
func (g *Graph) check(d *Device) error {
	switch {
	case g.zero() || g.closed.Load() || g.dev.closed.Load():
		return fmt.Errorf("graph is %w", ErrClosed)
	case g.dev != d:
		return fmt.Errorf("graph of device %s %w", g.dev.name, ErrForeign)
	}
	return nil
}

// Launch enqueues all of the graph's work. A graph's launches run one after the other, whatever their streams. It fails with ErrClosed and
// ErrForeign.
func (s *Stream) Launch(g *Graph) error {
	err := s.use()
	if err == nil {
		err = g.check(s.dev)
	}
	if err == nil {
		err = g.recording.Launch(s.queue)
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(g)
	if err != nil {
		return fmt.Errorf("device: launch: %w", err)
	}
	return nil
}

// Close gives the graph back, after the launches that were enqueued. A second Close fails with ErrClosed.
func (g *Graph) Close() error {
	err := ErrClosed
	if !g.zero() && !g.dev.closed.Load() && !g.closed.Swap(true) {
		g.stop()
		err = g.recording.Close()
	}
	if err != nil {
		return fmt.Errorf("device: close graph: %w", err)
	}
	return nil
}
