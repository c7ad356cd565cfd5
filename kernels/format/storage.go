package format

import (
	"slices"

	"github.com/fusestep/fusestep/device"
)

// Storage lists the types of the planes that numbers of a compute type can be put into, the compute type first: none if nothing can be
// computed with it. It is what a Backend's Storage says that can run all formats.
func Storage(compute device.DType) (out []device.DType) {
	for _, f := range all() {
		for _, p := range f.planes {
			if f.compute == compute && f.Encodes() && !slices.Contains(out, p.DType) {
				out = append(out, p.DType)
			}
		}
	}
	return out
}

// PlainTypes are those of Storage that hold a number by themselves: whose Plain format Encodes.
func PlainTypes(compute device.DType) (out []device.DType) {
	for _, t := range Storage(compute) {
		if f, err := Plain(t, compute); err == nil && f.Encodes() {
			out = append(out, t)
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
