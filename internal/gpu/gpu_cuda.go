//go:build cuda && cgo && linux

package gpu

import (
	"errors"
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/emulated"
)

// Built says whether this build can have GPUs.
const Built = true

func open(name string, ordinal int, emulate bool) (*Device, error) {
	var d *cuda.Device
	var err error
	if emulate {
		d, err = emulated.Open()
	} else if d, err = cuda.Open(ordinal); errors.Is(err, device.ErrUnavailable) {
		err = fmt.Errorf("%w; -device %s needs a GPU and NVIDIA's driver, -device emu needs neither", err, name)
	}
	if err != nil {
		return nil, err
	}
	model, err := d.Model()
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &Device{Backend: d, Model: model, Emulated: emulate}, nil
}
