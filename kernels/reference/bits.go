package reference

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
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
		case 1:
			*(*uint8)(unsafe.Pointer(&out[i])) = uint8(x)
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
	case 1:
		return uint64(*(*uint8)(unsafe.Pointer(&x)))
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
	case device.Int16:
		return float64(int16(bits))
	case device.Int8:
		return float64(int8(bits))
	}
	return math.Float64frombits(bits)
}

// Bits is a number rounded to the type, to nearest even, as device.DType.Round does; to an integer it is cut off.
func Bits(t device.DType, x float64) uint64 {
	switch t {
	case device.Float32:
		return uint64(math.Float32bits(float32(x)))
	case device.BFloat16:
		return uint64(math.Float32bits(float32(t.Round(x))) >> 16)
	case device.Float16:
		return uint64(ir.ToFloat16(float32(t.Round(x))))
	case device.Int16:
		return uint64(uint16(int16(x)))
	case device.Int8:
		return uint64(uint8(int8(x)))
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

// Agree is Same of an element's plane, whose planes should be what want says. A remainder may be any where the weight is a NaN, as it is
// part of the NaN's payload.
func Agree(p *kernels.Program, plane int, got uint64, want func(plane int) uint64) bool {
	if Same(p.Planes[plane].DType, got, want(plane)) {
		return true
	}
	weight := p.Of(plane).Plane
	x := Value(p.Planes[weight].DType, want(weight))
	return p.Planes[plane].Name == "remainder" && x != x
}

// Text is an element in decimal and in bits, for a message.
func Text(t device.DType, bits uint64) string { return fmt.Sprintf("%v (%#x)", Value(t, bits), bits) }
