package device

import (
	"fmt"
	"sync/atomic"
)

// Buffer is elements of one type in a device's memory, or a part of another Buffer.
type Buffer struct {
	dev   *Device
	dtype DType
	n     int
	off   int64 // bytes from the block's start
	block *block
	part  bool
}

// block is an allocation, shared by a buffer and its slices.
type block struct {
	mem    Memory // nil if empty
	closed atomic.Bool
	stop   func() // stops the collector's watch; nil if there is no memory
}

// zero says whether there is no buffer, nil or the zero value.
func (b *Buffer) zero() bool { return b == nil || b.block == nil }

// Device is where the buffer lives, nil for a nil or zero Buffer.
func (b *Buffer) Device() *Device {
	if b.zero() {
		return nil
	}
	return b.dev
}

// DType is the type of the elements.
func (b *Buffer) DType() DType {
	if b.zero() {
		return 0
	}
	return b.dtype
}

// Len is the number of elements.
func (b *Buffer) Len() int {
	if b.zero() {
		return 0
	}
	return b.n
}

// Span is the memory that the buffer occupies, for backends. Its Mem is nil for an empty allocation. It does not keep the
// buffer from being collected.
func (b *Buffer) Span() Span {
	if b.zero() {
		return Span{}
	}
	return Span{Mem: b.block.mem, Off: b.off, N: int64(b.n) * int64(b.dtype.Size())}
}

// Addr is the address of the first element in the device's own space; 0 for an empty allocation. It is of no use once the
// buffer is closed, or no longer reached.
func (b *Buffer) Addr() uint64 {
	if b.zero() || b.block.mem == nil {
		return 0
	}
	return b.block.mem.Addr() + uint64(b.off)
}

// Slice returns elements i to j, without j, as a buffer that shares memory with b. Close closes b and all slices of it; a
// slice alone cannot be closed. It fails with ErrRange and ErrClosed.
func (b *Buffer) Slice(i, j int) (*Buffer, error) {
	if err := b.Check(b.Device()); err != nil {
		return nil, fmt.Errorf("device: slice: %w", err)
	}
	if i < 0 || j < i || j > b.n {
		return nil, fmt.Errorf("device: slice [%d:%d] of %d elements: %w", i, j, b.n, ErrRange)
	}
	s := *b
	s.n, s.off, s.part = j-i, b.off+int64(i)*int64(b.dtype.Size()), true
	return &s, nil
}

// Overlaps says whether two buffers share a byte. Empty buffers share none.
func (b *Buffer) Overlaps(o *Buffer) bool {
	if b.Len() == 0 || o.Len() == 0 || b.dev != o.dev {
		return false
	}
	s, t := b.Span(), o.Span()
	return b.Addr() < o.Addr()+uint64(t.N) && o.Addr() < b.Addr()+uint64(s.N)
}

// Check says whether the buffer can be used on the device now: nil, ErrClosed or ErrForeign. A nil or zero Buffer is closed.
func (b *Buffer) Check(d *Device) error {
	switch {
	case b.zero() || b.block.closed.Load() || b.dev.closed.Load():
		return fmt.Errorf("buffer is %w", ErrClosed)
	case b.dev != d:
		return fmt.Errorf("buffer of device %s %w", b.dev.name, ErrForeign)
	}
	return nil
}

// Close waits for the work that was enqueued so far, on any stream, and frees the memory, unless it is somebody else's. A
// second Close fails with ErrClosed. A slice refuses.
func (b *Buffer) Close() error {
	var err error
	switch {
	case !b.zero() && b.part:
		err = fmt.Errorf("it is a slice; only the whole buffer can be closed")
	case b.zero() || b.dev.closed.Load() || b.block.closed.Swap(true):
		err = ErrClosed
	default:
		b.dev.closings.Add(1)
		if b.block.mem != nil {
			b.block.stop()
			err = b.block.mem.Free()
		}
	}
	if err != nil {
		return fmt.Errorf("device: close buffer: %w", err)
	}
	return nil
}
