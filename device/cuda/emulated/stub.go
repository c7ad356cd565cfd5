//go:build !cuda || !cgo || !linux

package emulated

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
)

// Open returns the emulated GPU, "cuda:0", each time as a device of its own. The emulated driver stays in front of a real one for the
// rest of the process. It fails with device.ErrUnavailable where the program was built without CUDA, and where the process may not have
// the address space that the emulation reserves.
func Open() (*cuda.Device, error) {
	return nil, fmt.Errorf("emulated GPU: %w: this program was built without CUDA; build it with device/cuda/gocuda, which sets the tag cuda, on Linux", device.ErrUnavailable)
}
