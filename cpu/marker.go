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
	at      time.Time // valid once reached is closed
}

func (m *marker) next() *point {
	p := &point{reached: make(chan struct{})}
	m.last.Store(p)
	return p
}

func (m *marker) point() *point { return m.last.Load() }

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
	<-m.point().reached
	return nil
}

func (m *marker) Done() (bool, error) { return m.point().passed(), nil }

func (m *marker) Since(start device.Marker) (time.Duration, error) {
	return m.point().at.Sub(start.(*marker).point().at), nil
}

func (m *marker) Close() error { return nil }
