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
	at     *unsafe.Pointer // a word with the address, which is aligned; nil is nowhere. Who follows ten thousand memories reads their words alone, which are close together
	n      int64
	mapped []byte // what the system gave, or nil
	wraps  bool   // it is somebody else's
}

// alloc takes n bytes from Go for small buffers and from the system for large ones.
func (m *memory) alloc(n int64) (err error) {
	var b []byte
	switch {
	case n > math.MaxInt-hugePage: // a 32-bit system
		err = fmt.Errorf("%d bytes: %w", n, device.ErrOutOfMemory)
	case n >= mapAbove:
		m.mapped, b, err = mapMemory(int(n))
		mapped.Add(int64(len(m.mapped)))
	default:
		b = aligned(make([]byte, n+cacheLine), int(n), cacheLine)
	}
	at := unsafe.Pointer(unsafe.SliceData(b))
	m.at, m.n = &at, n
	return err
}

// aligned is n bytes of b from the first address that is a multiple of align.
func aligned(b []byte, n, align int) []byte {
	off := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (align - 1)
	return b[off : off+n : off+n]
}

func (m *memory) Addr() uint64 { return uint64(uintptr(*m.at)) }

func (m *memory) Free() error {
	_ = m.proc.drain() // its error is the streams'
	m.proc.mu.Lock()
	defer m.proc.mu.Unlock()
	if m.proc.memories[m] { // not where Wrap made it
		delete(m.proc.memories, m)
		m.proc.held -= m.n
	}
	return m.release()
}

func (m *memory) release() error {
	b := m.mapped
	*m.at, m.mapped = nil, nil
	mapped.Add(-int64(len(b)))
	return unmapMemory(b)
}

// mapped is the bytes of all devices that the system has given and not got back.
var mapped atomic.Int64

// bytes is the memory of a span.
func bytes(s device.Span) []byte { return regionOf(s).bytes() }

// region is a span of memory, which may move.
type region struct {
	at     *unsafe.Pointer // memory.at; nil where there is no byte
	off, n int
}

func regionOf(s device.Span) (r region) {
	if s.N > 0 {
		r = region{s.Mem.(*memory).at, int(s.Off), int(s.N)}
	}
	return r
}

// bytes are nil where the memory is nowhere now.
func (r region) bytes() []byte {
	if r.at == nil || *r.at == nil {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(*r.at, r.off)), r.n)
}

// view is a buffer's elements.
func view[T device.Element](b *device.Buffer) []T {
	if b == nil || b.Len() == 0 {
		return nil
	}
	return as[T](contents(b))
}

// contents are a buffer's bytes.
func contents(b *device.Buffer) []byte { return bytes(b.Span()) }

// as are the elements in memory.
func as[T device.Element](b []byte) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(T(0))))
}
