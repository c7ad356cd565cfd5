package cuda

import "github.com/fusestep/fusestep/device"

// Device is one GPU. It is a kernels.Backend, so optim.New takes it. Make one with Open. A nil or zero Device counts as a closed one.
//
// Steps may be enqueued far ahead: an optimizer has 256 of them under way in each of its programs before Step waits for the
// oldest, and a stream 256 uploads and downloads.
type Device struct {
	dev *device.Device
	gpu *gpu
}

// Device is the memory, the streams and the events, as package device knows them. It is nil for a nil or zero Device.
func (d *Device) Device() *device.Device {
	if d == nil {
		return nil
	}
	return d.dev
}

// Name is "cuda:0" for the first GPU.
func (d *Device) Name() string { return d.Device().Name() }

// Alloc returns a buffer of n elements with any contents. An n of 0 is allowed. It fails with device.ErrRange,
// device.ErrOutOfMemory and device.ErrClosed.
func (d *Device) Alloc(t device.DType, n int) (*device.Buffer, error) { return d.Device().Alloc(t, n) }

// DefaultStream is a stream that the device has from the start. It closes with the device. It is not CUDA's null stream.
func (d *Device) DefaultStream() *device.Stream { return d.Device().DefaultStream() }

// NewStream makes a stream, which runs beside the others. It fails with device.ErrClosed and the driver's errors.
func (d *Device) NewStream() (*device.Stream, error) { return d.Device().NewStream() }

// NewEvent makes an event, which has not been recorded. It fails with device.ErrClosed and the driver's errors.
func (d *Device) NewEvent() (*device.Event, error) { return d.Device().NewEvent() }

// Capture records what work enqueues on a stream of its own, in a CUDA graph, instead of running it: Stream.Launch runs it. It fails with
// device.ErrClosed, the driver's errors and work's.
func (d *Device) Capture(work func(s *device.Stream) error) (*device.Graph, error) {
	return d.Device().Capture(work)
}

// MemInfo tells the bytes of the GPU's memory that are free, and those that it has. It fails with device.ErrClosed.
func (d *Device) MemInfo() (free, total int64, err error) { return d.Device().MemInfo() }

// Close waits for all work and gives back everything, buffers, streams, events, graphs and compiled kernels included. All later calls
// fail with device.ErrClosed. It returns the first error of the work.
func (d *Device) Close() error { return d.Device().Close() }
