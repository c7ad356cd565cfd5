package cpu

import (
	"fmt"
	"math"
	"sync/atomic"
	"unsafe"

	"github.com/fusestep/fusestep/device"
)

const (
	cacheLine = 64
	// mapAbove is the size from which memory comes from the system, page-aligned and outside the garbage collector's
	// heap, instead of from Go's allocator.
	mapAbove = 1 << 20
	hugePage = 2 << 20
)

// memory implements device.Memory.
type memory struct {
	proc   *processor
	b      []byte // aligned
	mapped []byte // what the system gave, or nil
	wraps  bool   // it is somebody else's
}

// alloc takes n bytes from Go for small buffers and from the system for large ones.
func (m *memory) alloc(n int64) (err error) {
	switch {
	case n > math.MaxInt-hugePage: // a 32-bit system
		err = fmt.Errorf("%d bytes: %w", n, device.ErrOutOfMemory)
	case n >= mapAbove:
		m.mapped, m.b, err = mapMemory(int(n))
		mapped.Add(int64(len(m.mapped)))
	default:
		m.b = aligned(make([]byte, n+cacheLine), int(n), cacheLine)
	}
	return err
}

// aligned is n bytes of b from the first address that is a multiple of align.
func aligned(b []byte, n, align int) []byte {
	off := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (align - 1)
	return b[off : off+n : off+n]
}

func (m *memory) Addr() uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m.b)))) }

func (m *memory) Free() error {
	_ = m.proc.drain() // its error is the streams'
	m.proc.mu.Lock()
	defer m.proc.mu.Unlock()
	if m.proc.memories[m] { // not where Wrap made it
		delete(m.proc.memories, m)
		m.proc.held -= int64(len(m.b))
	}
	return m.release()
}

func (m *memory) release() error {
	b := m.mapped
	m.b, m.mapped = nil, nil
	mapped.Add(-int64(len(b)))
	return unmapMemory(b)
}

// mapped is the bytes of all devices that the system has given and not got back.
var mapped atomic.Int64

// bytes is the memory of a span.
func bytes(s device.Span) []byte {
	if s.N == 0 {
		return nil
	}
	m := s.Mem.(*memory)
	if m.b == nil { // it wraps nothing now
		return nil
	}
	return m.b[s.Off : s.Off+s.N]
}

// view is a buffer's elements.
func view[T device.Element](b *device.Buffer) []T {
	if b == nil || b.Len() == 0 {
		return nil
	}
	return as[T](contents(b))
}

// contents are a buffer's bytes.
func contents(b *device.Buffer) []byte {
	if b.Len() == 0 {
		return nil
	}
	return bytes(b.Span())
}

// as are the elements in memory.
func as[T device.Element](b []byte) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(T(0))))
}
