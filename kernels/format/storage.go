package format

import "github.com/fusestep/fusestep/device"

// Storage lists the types that numbers of a compute type can be put into memory as, the compute type first: none if nothing can be computed
// with it.
func Storage(compute device.DType) (out []device.DType) {
	for _, f := range all() {
		if f.compute == compute && f.Encodes() && !f.noisy {
			out = append(out, f.planes[0].DType)
		}
	}
	return out
}

// Compute is the type that numbers of a parameter's type are calculated with: float64's own, and float32 for the others. It is 0 for what is
// no type.
func Compute(parameter device.DType) device.DType {
	switch {
	case parameter == device.Float64:
		return device.Float64
	case parameter.Size() > 0:
		return device.Float32
	}
	return 0
}
