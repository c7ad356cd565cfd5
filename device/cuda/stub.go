//go:build !cuda || !cgo || !linux

package cuda

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// gpu is what there is none of in this build.
type gpu struct{}

// errBuild is why every function here fails.
var errBuild = fmt.Errorf("%w: this program was built without CUDA; build it with device/cuda/gocuda, which sets the tag cuda, on Linux", device.ErrUnavailable)

// Open returns a GPU by its number, the first is 0. It fails with device.ErrUnavailable where there is no driver, where there is no such
// GPU, where the GPU is older than compute capability 7.0 (Volta, 2017), and in a program that was built without CUDA.
func Open(ordinal int) (*Device, error) { return nil, fmt.Errorf("cuda:%d: %w", ordinal, errBuild) }

// Count is the number of GPUs. Without a driver it fails with device.ErrUnavailable.
func Count() (int, error) { return 0, errBuild }

// Model is the GPU's name, such as "NVIDIA H200". It fails with device.ErrClosed.
func (d *Device) Model() (string, error) { return "", errBuild }

// Wrap makes a buffer of n elements at a device address that somebody else owns, such as another framework's tensor.
// Closing the buffer does not free the memory, and the buffer does not keep it: its owner must, for as long as work uses it.
//
// It fails with device.ErrRange where not all of it is memory of the device that has been allocated, an address of 0 included, with
// device.ErrMisaligned where the address is no multiple of the element's size, and with device.ErrClosed. With an n of 0 the address
// means nothing.
func Wrap(d *Device, t device.DType, n int, address uint64) (*device.Buffer, error) {
	return nil, errBuild
}

// WrapStream makes a stream of a CUstream that somebody else owns, of the device's primary context. Closing it waits for
// its work and leaves it. It is nil, which counts as closed, where the device is closed.
func WrapStream(d *Device, stream uintptr) *device.Stream { return nil }

// Captured says whether a stream is being captured, as a framework captures its own.
func Captured(s *device.Stream) (bool, error) { return false, errBuild }

// Storage implements kernels.Backend.
func (d *Device) Storage(compute device.DType) []device.DType { return nil }

// Compile implements kernels.Backend.
func (d *Device) Compile(w kernels.Work) (kernels.Update, error) { return nil, errBuild }

// CompileTraffic implements kernels.Backend.
func (d *Device) CompileTraffic(w kernels.Work) ([]kernels.Update, error) { return nil, errBuild }
