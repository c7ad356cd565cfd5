package cpu

import (
	"fmt"

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
