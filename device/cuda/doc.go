// Package cuda runs fusestep on NVIDIA GPUs, through gorgonia.org/cu and the driver alone: kernels are written as PTX at
// run time and compiled by the driver, so no toolkit is needed, neither to build nor to run.
//
// It is built with the tag cuda, cgo and Linux; device/cuda/gocuda runs the go command with what that needs. Without
// the tag, and on a machine without driver or device, Open returns device.ErrUnavailable.
//
// A step is a copy of the hyperparameters to the device, one launch that computes every group's scalars, and
// one that updates all tensors; with clipping, the launches of the gradient norm before them. All are on the caller's stream,
// and the host waits for nothing.
package cuda
