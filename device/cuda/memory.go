//go:build cuda && cgo && linux

package cuda

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/driver"
)

// memory implements device.Memory.
type memory struct {
	g     *gpu
	at    cu.DevicePtr
	owned bool
}

func (g *gpu) Alloc(n int64) (device.Memory, error) {
	m := &memory{g: g, owned: true}
	err := g.do(func() (err error) {
		m.at, err = cu.MemAlloc(n)
		return failure(driver.CuMemAlloc, err)
	})
	if err != nil {
		return nil, fmt.Errorf("%d bytes: %w", n, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.memories[m] = true
	return m, nil
}

func (m *memory) Addr() uint64 { return uint64(m.at) }

// Free waits for the device: cuMemFree does, but not for streams that another thread is still feeding.
func (m *memory) Free() error {
	if err := m.g.drain(); err != nil {
		return err
	}
	if err := m.release(); err != nil {
		return err // the device's Close tries again
	}
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	delete(m.g.memories, m)
	return nil
}

func (m *memory) release() error {
	if !m.owned {
		return nil
	}
	return m.g.do(func() error { return failure(driver.CuMemFree, cu.MemFree(m.at)) })
}

// drain waits for everything that has been enqueued on the device's own streams.
func (g *gpu) drain() error {
	g.mu.Lock()
	queues := make([]*queue, 0, len(g.queues))
	for q := range g.queues {
		queues = append(queues, q)
	}
	g.mu.Unlock()
	for _, q := range queues {
		if err := q.drain(); err != nil {
			return err
		}
	}
	return nil
}

// Wrap makes a buffer of n elements at a device address that somebody else owns, such as another framework's tensor.
// Closing the buffer does not free the memory.
func Wrap(d *Device, t device.DType, n int, address uint64) (*device.Buffer, error) {
	return d.checked.Wrap(t, n, &memory{g: d.gpu, at: cu.DevicePtr(address)})
}

// staging is pinned host memory.
type staging struct {
	g *gpu
	p unsafe.Pointer
}

func (g *gpu) staging(n int) (*staging, error) {
	s := &staging{g: g}
	err := g.do(func() (err error) {
		s.p, err = driver.MemHostAlloc(n, driver.HostPortable)
		return failure(driver.CuMemHostAlloc, err)
	})
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hosts[s] = true
	return s, nil
}

func (s *staging) free() error {
	if err := s.release(); err != nil {
		return err
	}
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	delete(s.g.hosts, s)
	return nil
}

func (s *staging) release() error {
	return s.g.do(func() error { return failure(driver.CuMemFreeHost, driver.MemFreeHost(s.p)) })
}

// at is the address of a span.
func at(s device.Span) cu.DevicePtr {
	if s.Mem == nil {
		return 0
	}
	return s.Mem.(*memory).at + cu.DevicePtr(s.Off)
}
