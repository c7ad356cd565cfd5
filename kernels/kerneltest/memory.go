package kerneltest

import (
	"errors"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/reference"
)

// memory is room for elements of any type, of one buffer after the other.
type memory []uint64

func room[E device.Element](m *memory, n int) []E {
	var e E
	if words := (n*int(unsafe.Sizeof(e)) + 7) / 8; len(*m) < words {
		*m = make(memory, words)
	}
	return unsafe.Slice((*E)(unsafe.Pointer(unsafe.SliceData(*m))), n)
}

// differences calls f for each element of a buffer whose bits are not those that are wanted.
func differences(t T, s *device.Stream, b *device.Buffer, m *memory, want reference.Plane, f func(i int, got uint64)) {
	switch b.DType() {
	case device.Float32:
		differencesOf[float32](t, s, b, m, want, f)
	case device.Float64:
		differencesOf[float64](t, s, b, m, want, f)
	case device.Int16:
		differencesOf[int16](t, s, b, m, want, f)
	case device.Int8:
		differencesOf[int8](t, s, b, m, want, f)
	default:
		differencesOf[uint16](t, s, b, m, want, f)
	}
}

func differencesOf[E device.Element](t T, s *device.Stream, b *device.Buffer, m *memory, want reference.Plane, f func(i int, got uint64)) {
	got := room[E](m, b.Len())
	if err := errors.Join(device.Download(s, got, b), s.Synchronize()); err != nil {
		require.NoError(t, err)
	}
	for i, x := range got {
		if bits := reference.BitsOf(x); bits != want[i] {
			f(i, bits)
		}
	}
}
