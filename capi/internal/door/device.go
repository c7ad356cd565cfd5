package door

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/kernels"
)

// Device is where tensors are: the host's memory, or a GPU's.
type Device struct {
	kernels.Backend
	cpu *cpu.Device  // or nil
	gpu *cuda.Device // or nil
}

// OnCPU is a device of the host's.
func OnCPU(d *cpu.Device) *Device { return &Device{Backend: d, cpu: d} }

// OnGPU is a GPU.
func OnGPU(d *cuda.Device) *Device { return &Device{Backend: d, gpu: d} }

// Close gives it back.
func (d *Device) Close() error { return d.Device().Close() }

// wrap makes a buffer of somebody else's memory.
func (d *Device) wrap(t device.DType, n int, at unsafe.Pointer) (*device.Buffer, error) {
	if d.cpu != nil {
		return d.cpu.WrapAt(t, n, at)
	}
	b, err := cuda.Wrap(d.gpu, t, n, uint64(uintptr(at)))
	if errors.Is(err, device.ErrRange) {
		err = &Error{Tensor, err.Error()}
	}
	return b, err
}

// SetStream makes a CUstream that on which the optimizer's calls enqueue from now on; 0 is CUDA's default stream.
func (d *Optimizer) SetStream(stream uintptr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dev.gpu == nil {
		return argumentf("the optimizer's device is no GPU, and has no streams of CUDA")
	}
	if d.handle == stream {
		return nil
	}
	d.handle = stream
	if d.stream = d.streams[stream]; d.stream == nil { // callers go back and forth between some
		d.stream = cuda.WrapStream(d.dev.gpu, stream)
		d.streams[stream] = d.stream
	}
	return nil
}

// free says whether the stream can be enqueued on.
func (d *Optimizer) free() error {
	if d.dev.gpu == nil {
		return nil
	}
	captured, err := cuda.Captured(d.stream)
	if captured {
		return &Error{Capturing, fmt.Sprintf("the stream %#x is being captured, and nothing was enqueued: "+
			"what is to be in the graph is fs_capture's", d.handle)}
	}
	return err
}
