package main

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
)

// openDevice opens the device that -device names.
func openDevice(name string) (kernels.Backend, error) {
	switch {
	case name == "cpu":
		return cpu.New(ConcordLoops), nil
	case !gpu.Known(name):
		return nil, fmt.Errorf("-device %q is not cpu, cuda, cuda:N or emu", name)
	}
	g, err := gpu.Open(name)
	if err != nil {
		return nil, err // and not a nil *gpu.Device, which is no nil kernels.Backend
	}
	return g, nil
}
