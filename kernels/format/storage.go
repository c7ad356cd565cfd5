package format

import (
	"slices"

	"github.com/fusestep/fusestep/device"
)

// Storage lists the types that numbers of a compute type can be put into memory as, the compute type first: none if nothing can be computed
// with it.
func Storage(compute device.DType) (out []device.DType) {
	for _, f := range all() {
		if f.compute == compute && f.Encodes() && !f.noisy && f.NumPlanes() == 1 {
			out = append(out, f.planes[0].DType)
		}
	}
	return out
}

// PlaneTypes is Storage and the types of what stands beside a number's first plane: remainders.
func PlaneTypes(compute device.DType) (out []device.DType) {
	for _, f := range all() {
		for _, p := range f.planes {
			if f.compute == compute && f.Encodes() && !slices.Contains(out, p.DType) {
				out = append(out, p.DType)
			}
		}
	}
	return out
}

// Compute is the type that numbers of a parameter's type are calculated with: float64's own, and float32 for the others. It is 0 for what is
// no type of a number.
func Compute(parameter device.DType) device.DType {
	switch parameter {
	case device.Float64:
		return device.Float64
	case device.Float32, device.BFloat16, device.Float16:
		return device.Float32
	}
	return 0
}
