//go:build !cuda || !cgo || !linux

package cuda

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// Device is one GPU. It is a kernels.Backend.
type Device struct{ kernels.Backend }

// Open fails: this program was built without CUDA.
func Open(ordinal int) (*Device, error) {
	return nil, fmt.Errorf("cuda:%d: %w: this program was built without CUDA; build it with device/cuda/gocuda, which sets the tag cuda, on Linux", ordinal, device.ErrUnavailable)
}

// Count fails as Open does.
func Count() (int, error) {
	_, err := Open(0)
	return 0, err
}
