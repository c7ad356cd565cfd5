package format

import "github.com/fusestep/fusestep/device"

// Storage lists the types that numbers of a compute type can be put into memory as, the compute type first: none if nothing can be computed
// with it.
func Storage(compute device.DType) (out []device.DType) {
	for _, f := range all() {
		if f.compute == compute && f.Encodes() {
			out = append(out, f.planes[0].DType)
		}
	}
	return out
}
