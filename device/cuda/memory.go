//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"math"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
)

// memory implements device.Memory.
type memory struct {
	g     *gpu
	at    cu.DevicePtr
	owned bool
}

func (g *gpu) Alloc(n int64) (device.Memory, error) {
	m := &memory{g: g, owned: true}
	err := g.make(func() (err error) {
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
	return m.g.make(func() error { return failure(driver.CuMemFree, cu.MemFree(m.at)) })
}

// drain waits for everything that has been enqueued on the device's streams. A capture, ours or a framework's of its own stream, has nothing to wait for, and waiting would
// end it.
func (g *gpu) drain() error {
	g.mu.Lock()
	queues := make([]*queue, 0, len(g.queues))
	for q := range g.queues {
		if !q.records {
			queues = append(queues, q)
		}
	}
	g.mu.Unlock()
	for _, q := range queues {
		if !q.owned {
			captured, err := q.captured()
			if err != nil {
				return err
			}
			if captured {
				continue
			}
		}
		if err := q.drain(); err != nil {
			return err
		}
	}
	return nil
}

// Wrap makes a buffer of n elements at a device address that somebody else owns, such as another framework's tensor.
// Closing the buffer does not free the memory, and the buffer does not keep it: its owner must, for as long as work uses it.
//
// It fails with device.ErrRange where not all of it is memory of the device that has been allocated, an address of 0 included, with
// device.ErrMisaligned where the address is no multiple of the element's size, and with device.ErrClosed. With an n of 0 the address
// means nothing.
func Wrap(d *Device, t device.DType, n int, address uint64) (*device.Buffer, error) {
	if err := d.usable(); err != nil {
		return nil, err
	}
	if n <= 0 || t.Size() == 0 { // nothing, or refused
		return d.dev.Wrap(t, n, nil)
	}
	if err := d.gpu.allocated(address, n, uint64(t.Size())); err != nil {
		return nil, fmt.Errorf("cuda: wrap of %d %s at %#x: %w", n, t, address, err)
	}
	return d.dev.Wrap(t, n, &memory{g: d.gpu, at: cu.DevicePtr(address)})
}

// allocated says whether n elements at an address can be wrapped.
func (g *gpu) allocated(address uint64, n int, size uint64) error {
	bytes := uint64(n) * size
	switch {
	case uint64(n) > math.MaxInt64/size || address+bytes < address || address == 0:
		return device.ErrRange
	case address%size != 0:
		return device.ErrMisaligned
	}
	return g.do(func() error {
		for at := address; at < address+bytes; { // what is mapped piece by piece may be many allocations side by side
			n, base, err := cu.DevicePtr(at).AddressRange()
			for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) { // cu wraps it
				err = inner
			}
			if err = failure(driver.CuMemGetAddressRange, err); errors.Is(err, driver.ErrorInvalidValue) || errors.Is(err, driver.ErrorNotFound) {
				return fmt.Errorf("%w: no allocation holds %#x", device.ErrRange, at)
			} else if err != nil {
				return err
			}
			at = uint64(base) + uint64(n)
		}
		return nil
	})
}

// staging is pinned host memory. It is a device.Memory, so that a buffer of package device keeps it and gives it back.
type staging struct {
	g *gpu
	p unsafe.Pointer
}

func (g *gpu) staging(n int) (*staging, error) {
	s := &staging{g: g}
	err := g.make(func() (err error) {
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

// Addr is the host's.
func (s *staging) Addr() uint64 { return uint64(uintptr(s.p)) }

func (s *staging) Free() error {
	if err := s.g.drain(); err != nil {
		return err
	}
	if err := s.release(); err != nil {
		return err // the device's Close tries again
	}
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	delete(s.g.hosts, s)
	return nil
}

func (s *staging) release() error {
	return s.g.make(func() error { return failure(driver.CuMemFreeHost, driver.MemFreeHost(s.p)) })
}

// at is the address of a span.
func at(s device.Span) cu.DevicePtr {
	if s.Mem == nil {
		return 0
	}
	return s.Mem.(*memory).at + cu.DevicePtr(s.Off)
}
