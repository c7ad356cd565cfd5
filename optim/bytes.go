package optim

import (
	"fmt"
	"unsafe"

	"github.com/fusestep/fusestep/device"
)

// downloadBytes enqueues copying a buffer's elements to memory of as many bytes.
func downloadBytes(s *device.Stream, to []byte, b *device.Buffer) error {
	return transferBytes(s, to, b, true)
}

// uploadBytes enqueues copying memory to a buffer of as many bytes.
func uploadBytes(s *device.Stream, b *device.Buffer, from []byte) error {
	return transferBytes(s, from, b, false)
}

func transferBytes(s *device.Stream, host []byte, b *device.Buffer, down bool) error {
	switch b.DType() {
	case device.Float32:
		return transferElements[float32](s, host, b, down)
	case device.Float64:
		return transferElements[float64](s, host, b, down)
	case device.Int8:
		return transferElements[int8](s, host, b, down)
	case device.Int16:
		return transferElements[int16](s, host, b, down)
	}
	return transferElements[uint16](s, host, b, down)
}

// transferElements goes through memory of its own, and waits, where host is not aligned to elements.
func transferElements[E device.Element](s *device.Stream, host []byte, b *device.Buffer, down bool) error {
	size := int(unsafe.Sizeof(E(0)))
	if len(host) != b.Len()*size {
		return fmt.Errorf("%d bytes are not %d elements of %s: %w", len(host), b.Len(), b.DType(), device.ErrRange)
	}
	at := unsafe.Pointer(unsafe.SliceData(host))
	if uintptr(at)%uintptr(size) == 0 {
		x := unsafe.Slice((*E)(at), b.Len())
		if down {
			return device.Download(s, x, b)
		}
		return device.Upload(s, b, x)
	}
	x := make([]E, b.Len())
	if !down {
		copy(memoryOf(x), host)
		if err := device.Upload(s, b, x); err != nil {
			return err
		}
		return s.Synchronize()
	}
	if err := device.Download(s, x, b); err != nil {
		return err
	}
	err := s.Synchronize()
	copy(host, memoryOf(x))
	return err
}
