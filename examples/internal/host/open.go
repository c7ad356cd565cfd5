// Package host is what programs have in common whose gradients are made in host memory: the device that -device names, and
// parameters that live there and here.
package host

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
)

// Devices is the help text of a flag -device.
const Devices = "where the optimizer runs: cpu, cuda, cuda:N, or emu, an emulated GPU"

// UnknownError is a name that is no device's in any build.
type UnknownError string

func (e UnknownError) Error() string {
	return fmt.Sprintf("-device %q is not cpu, cuda, cuda:N or emu", string(e))
}

// Open opens the device that -device names. What no build knows is an UnknownError, what this one lacks is device.ErrUnavailable.
func Open(name string) (kernels.Backend, error) {
	switch {
	case name == "cpu":
		return cpu.New(), nil
	case !gpu.Known(name):
		return nil, UnknownError(name)
	}
	g, err := gpu.Open(name)
	if err != nil {
		return nil, err // and not a nil *gpu.Device, which is no nil kernels.Backend
	}
	return g, nil
}
