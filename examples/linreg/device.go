package main

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// openDevice opens the device that -device names.
func openDevice(name string) (kernels.Backend, error) {
	switch name {
	case "cpu":
		return cpu.New(), nil
	case "cuda", "emu":
		return nil, fmt.Errorf("device %s: %w: this program is built for the cpu alone", name, device.ErrUnavailable)
	}
	return nil, usageError(fmt.Sprintf("-device %q is not cpu, cuda or emu", name))
}
