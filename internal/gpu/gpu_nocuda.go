//go:build !cuda || !cgo || !linux

package gpu

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
)

// Built says whether this build can have GPUs.
const Built = false

func open(name string, _ int, _ bool) (*Device, error) {
	return nil, fmt.Errorf("-device %s is %w: this program was built without CUDA; build it on Linux with "+
		"`go run github.com/fusestep/fusestep/device/cuda/gocuda build` instead of `go build`", name, device.ErrUnavailable)
}
