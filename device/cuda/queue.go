//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
)

// queue implements device.Queue.
type queue struct {
	g     *gpu
	s     cu.Stream
	owned bool

	records bool // a capture's: what is enqueued does not run

	mu       sync.Mutex
	host     [][]byte // host memory that copies under way may still use: not to be collected
	released int      // how many were in host before

	life sync.RWMutex // held for writing while gone changes
	gone bool         // the stream is no more
}

func (g *gpu) NewQueue() (device.Queue, error) {
	q, err := g.newQueue(false)
	if err != nil {
		return nil, err // and not a nil *queue, which is no nil device.Queue
	}
	return q, nil
}

func (g *gpu) newQueue(records bool) (*queue, error) {
	q := &queue{g: g, owned: true, records: records}
	err := g.do(func() (err error) {
		q.s, err = cu.MakeStream(cu.NonBlocking)
		return failure(driver.CuStreamCreate, err)
	})
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queues[q] = true
	return q, nil
}

// WrapStream makes a stream of a CUstream that somebody else owns, of the device's primary context. Closing it waits for
// its work and leaves it. It is nil, which counts as closed, where the device is closed.
func WrapStream(d *Device, stream uintptr) *device.Stream {
	if d.usable() != nil {
		return nil
	}
	q := &queue{g: d.gpu, s: *(*cu.Stream)(unsafe.Pointer(&stream))} // one handle, in a struct of its own
	d.gpu.mu.Lock()
	defer d.gpu.mu.Unlock()
	d.gpu.queues[q] = true
	return d.dev.WrapStream(q)
}

// Captured says whether a stream is being captured, as a framework captures its own.
func Captured(s *device.Stream) (bool, error) {
	if err := s.Check(s.Device()); err != nil {
		return false, fmt.Errorf("cuda: %w", err)
	}
	q, ok := s.Queue().(*queue)
	if !ok {
		return false, fmt.Errorf("cuda: stream of device %s %w", s.Device().Name(), device.ErrForeign)
	}
	return q.captured()
}

func (q *queue) captured() (is bool, err error) {
	err = q.g.do(func() error {
		is, err = driver.StreamIsCapturing(q.handle())
		return failure(driver.CuStreamIsCapturing, err)
	})
	if errors.Is(err, driver.ErrorStreamCaptureImplicit) {
		return true, nil // the default stream, beside a stream that is being captured and waits for it
	}
	return is, err
}

// queue is a stream's, which must be of this GPU.
func (g *gpu) queue(s *device.Stream) (*queue, error) {
	if err := s.Check(s.Device()); err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	q, ok := s.Queue().(*queue)
	if !ok || q.g != g {
		return nil, fmt.Errorf("cuda: stream of device %s %w", s.Device().Name(), device.ErrForeign)
	}
	return q, nil
}

// handle is the stream for package driver's own calls.
func (q *queue) handle() driver.Stream { return *(*driver.Stream)(unsafe.Pointer(&q.s)) }

// keep holds host memory until the queue has been synchronised. Where it holds as many pieces as steps may be under way, it
// synchronises first.
func (q *queue) keep(b []byte) error {
	q.mu.Lock()
	full := len(q.host) >= inFlight
	q.mu.Unlock()
	if full {
		if err := q.Synchronize(); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.host = append(q.host, b)
	return nil
}

// Upload and Download may wait for the device, where the host's memory is not pinned.
func (q *queue) Upload(dst device.Span, src []byte) error {
	if q.records {
		return device.ErrUnsupported // nobody would keep src
	}
	if err := q.keep(src); err != nil {
		return err
	}
	return q.g.wait(func() error {
		return failure(driver.CuMemcpyHtoDAsync, cu.MemcpyHtoDAsync(at(dst), unsafe.Pointer(unsafe.SliceData(src)), int64(len(src)), q.s))
	})
}

func (q *queue) Download(dst []byte, src device.Span) error {
	if q.records {
		return device.ErrUnsupported
	}
	if err := q.keep(dst); err != nil {
		return err
	}
	return q.g.wait(func() error {
		return failure(driver.CuMemcpyDtoHAsync, cu.MemcpyDtoHAsync(unsafe.Pointer(unsafe.SliceData(dst)), at(src), int64(len(dst)), q.s))
	})
}

func (q *queue) Copy(dst, src device.Span) error {
	return q.g.do(func() error {
		return failure(driver.CuMemcpyDtoDAsync, cu.MemcpyDtoDAsync(at(dst), at(src), src.N, q.s))
	})
}

func (q *queue) Zero(dst device.Span) error {
	return q.g.do(func() error { return failure(driver.CuMemsetD8Async, cu.MemsetD8Async(at(dst), 0, dst.N, q.s)) })
}

func (q *queue) Record(m device.Marker) error {
	return q.g.do(func() error { return failure(driver.CuEventRecord, m.(*marker).e.Record(q.s)) })
}

func (q *queue) Wait(m device.Marker) error {
	return q.g.do(func() error { return failure(driver.CuStreamWaitEvent, q.s.Wait(m.(*marker).e, 0)) })
}

func (q *queue) Synchronize() error {
	q.mu.Lock()
	done := q.released + len(q.host)
	q.mu.Unlock()
	err := q.g.wait(func() error { return failure(driver.CuStreamSynchronize, q.s.Synchronize()) })
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := done - q.released; n > 0 { // else another goroutine, which waited for more, has been faster
		q.host = append([][]byte(nil), q.host[n:]...)
		q.released = done
	}
	return err
}

// drain is Synchronize for who must not mind that the stream is closed meanwhile.
func (q *queue) drain() error {
	q.life.RLock()
	defer q.life.RUnlock()
	if q.gone {
		return nil
	}
	return q.Synchronize()
}

func (q *queue) Close() error {
	if err := q.destroy(); err != nil {
		return err // the device's Close tries again
	}
	q.g.mu.Lock()
	defer q.g.mu.Unlock()
	delete(q.g.queues, q)
	return nil
}

func (q *queue) destroy() error {
	q.life.Lock()
	defer q.life.Unlock()
	if q.owned {
		s := q.s // cu clears the handle, also on failure
		if err := q.g.do(func() error { return failure(driver.CuStreamDestroy, s.Destroy()) }); err != nil {
			return err
		}
	}
	q.gone = true
	return nil
}

// marker implements device.Marker.
type marker struct {
	g *gpu
	e cu.Event
}

func (g *gpu) NewMarker() (device.Marker, error) {
	m := &marker{g: g}
	err := g.do(func() (err error) {
		m.e, err = cu.MakeEvent(cu.DefaultEvent)
		return failure(driver.CuEventCreate, err)
	})
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.markers[m] = true
	return m, nil
}

func (m *marker) Synchronize() error {
	return m.g.wait(func() error { return failure(driver.CuEventSynchronize, m.e.Synchronize()) })
}

func (m *marker) Done() (done bool, err error) {
	err = m.g.make(func() error {
		switch err := m.e.Query(); err {
		case nil:
			done = true
			return nil
		case cu.NotReady:
			return nil
		default:
			return failure(driver.CuEventQuery, err)
		}
	})
	return done, err
}

func (m *marker) Since(start device.Marker) (d time.Duration, err error) {
	err = m.g.do(func() error {
		ms, err := start.(*marker).e.Elapsed(m.e)
		d = time.Duration(ms * float64(time.Millisecond))
		return failure(driver.CuEventElapsedTime, err)
	})
	return d, err
}

func (m *marker) Close() error {
	if err := m.destroy(); err != nil {
		return err // the device's Close tries again
	}
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	delete(m.g.markers, m)
	return nil
}

func (m *marker) destroy() error {
	e := m.e // cu clears the handle, also on failure
	return m.g.do(func() error { return failure(driver.CuEventDestroy, cu.DestroyEvent(&e)) })
}
