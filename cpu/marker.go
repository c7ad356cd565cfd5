package cpu

import (
	"sync/atomic"
	"time"

	"github.com/fusestep/fusestep/device"
)

// marker implements device.Marker: the last point that it was recorded at.
type marker struct{ last atomic.Pointer[point] }

// point is a place in a queue's work. As a task, it is reached when it runs.
type point struct {
	reached chan struct{}
	at      time.Time // valid once reached is closed, as err is
	err     error     // of the queue before it
}

func (p *point) run() {
	p.at = time.Now()
	close(p.reached)
}

func (p *point) passed() bool {
	select {
	case <-p.reached:
		return true
	default:
		return false
	}
}

// await is the task of waiting for another queue's point.
type await struct{ *point }

func (a await) run() { <-a.reached }

func (m *marker) Synchronize() error {
	p := m.last.Load()
	<-p.reached
	return p.err
}

func (m *marker) Done() (bool, error) {
	p := m.last.Load()
	if !p.passed() {
		return false, nil
	}
	return true, p.err
}

func (m *marker) Since(start device.Marker) (time.Duration, error) {
	end, begin := m.last.Load(), start.(*marker).last.Load()
	<-end.reached // it has been, unless another goroutine has recorded the event again
	<-begin.reached
	return end.at.Sub(begin.at), nil
}

func (m *marker) Close() error { return nil }
