package cpu

import (
	"fmt"
	"unsafe"

	"github.com/fusestep/fusestep/device"
)

// WrapSlice is Wrap of a slice whose type is known only when the program runs: a []float32, []float64, []uint16, []int16 or
// []int8. Any other fails with device.ErrUnsupported.
func (d *Device) WrapSlice(x any) (*device.Buffer, error) {
	switch x := x.(type) {
	case []float32:
		return Wrap(d, x)
	case []float64:
		return Wrap(d, x)
	case []uint16:
		return Wrap(d, x)
	case []int16:
		return Wrap(d, x)
	case []int8:
		return Wrap(d, x)
	}
	return nil, fmt.Errorf("cpu: wrap %T: %w", x, device.ErrUnsupported)
}

// WrapAt implements kernels.Mover.
func (d *Device) WrapAt(t device.DType, n int, at unsafe.Pointer) (*device.Buffer, error) {
	m := &memory{wraps: true, at: &at}
	if d != nil {
		m.proc = d.processor
	}
	return d.Device().Wrap(t, n, m)
}

// Word implements kernels.Mover.
func (d *Device) Word(b *device.Buffer) (*unsafe.Pointer, error) {
	s := b.Span()
	m, ok := s.Mem.(*memory)
	if !ok || !m.wraps || s.Off != 0 {
		return nil, fmt.Errorf("cpu: move: the buffer wraps nothing: %w", device.ErrUnsupported)
	}
	return m.at, nil
}
