//go:build cuda && cgo && linux

package gpu

import (
	"errors"
	"fmt"
	"sync"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/emu"
	"github.com/fusestep/fusestep/device/cuda/emu/ptxvm"
)

// Built says whether this build can have GPUs.
const Built = true

// emulate is once, as devices of one driver can meet and those of two cannot.
var emulate = sync.OnceFunc(func() { emu.New(emu.Config{Checks: ptxvm.AllChecks}).Install() })

func open(name string, ordinal int, emulated bool) (*Device, error) {
	if emulated {
		emulate()
	}
	d, err := cuda.Open(ordinal)
	if errors.Is(err, device.ErrUnavailable) {
		return nil, fmt.Errorf("%w; -device %s needs a GPU and NVIDIA's driver, -device emu needs neither", err, name)
	} else if err != nil {
		return nil, err
	}
	model, err := d.Model()
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &Device{Backend: d, Model: model, Emulated: emulated}, nil
}
