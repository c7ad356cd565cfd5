package reference

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
)

// PlaneOf is the bits of elements.
func PlaneOf[T device.Element](x []T) Plane {
	out := make(Plane, len(x))
	for i := range x {
		out[i] = BitsOf(x[i])
	}
	return out
}

// Elements are the elements with these bits.
func Elements[T device.Element](p Plane) []T {
	out := make([]T, len(p))
	for i, x := range p {
		switch unsafe.Sizeof(out[i]) {
		case 2:
			*(*uint16)(unsafe.Pointer(&out[i])) = uint16(x)
		case 4:
			*(*uint32)(unsafe.Pointer(&out[i])) = uint32(x)
		default:
			*(*uint64)(unsafe.Pointer(&out[i])) = x
		}
	}
	return out
}

// BitsOf is an element's bits.
func BitsOf[T device.Element](x T) uint64 {
	switch unsafe.Sizeof(x) {
	case 2:
		return uint64(*(*uint16)(unsafe.Pointer(&x)))
	case 4:
		return uint64(*(*uint32)(unsafe.Pointer(&x)))
	}
	return *(*uint64)(unsafe.Pointer(&x))
}

// Value is the number that an element's bits stand for.
func Value(t device.DType, bits uint64) float64 {
	switch t {
	case device.Float32:
		return float64(math.Float32frombits(uint32(bits)))
	case device.BFloat16:
		return float64(math.Float32frombits(uint32(bits) << 16))
	case device.Float16:
		return float64(ir.FromFloat16(uint16(bits)))
	}
	return math.Float64frombits(bits)
}

// Bits is a number rounded to the type, to nearest even, as device.DType.Round does.
func Bits(t device.DType, x float64) uint64 {
	switch t {
	case device.Float32:
		return uint64(math.Float32bits(float32(x)))
	case device.BFloat16:
		return uint64(math.Float32bits(float32(t.Round(x))) >> 16)
	case device.Float16:
		return uint64(ir.ToFloat16(float32(t.Round(x))))
	}
	return math.Float64bits(x)
}

// Same says whether two elements have the same bits, or are both NaN, whatever its payload.
func Same(t device.DType, a, b uint64) bool {
	if a == b {
		return true
	}
	x, y := Value(t, a), Value(t, b)
	return x != x && y != y
}

// Text is an element in decimal and in bits, for a message.
func Text(t device.DType, bits uint64) string { return fmt.Sprintf("%v (%#x)", Value(t, bits), bits) }
