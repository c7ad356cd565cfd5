// Package host is what programs have in common whose gradients are made in host memory: the device that -device names, and
// parameters that live there and here.
package host

import (
	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
)

// Open opens the device that -device names. The error of a name that no build knows is a cli.UsageError, that of a device which this
// build or machine lacks is device.ErrUnavailable.
func Open(name string) (kernels.Backend, error) {
	if name == "cpu" {
		return cpu.New(), nil
	}
	g, err := gpu.Open(name)
	if err != nil {
		return nil, err // and not a nil *gpu.Device, which is no nil kernels.Backend
	}
	return g, nil
}
