// Package emulated opens a GPU that is emulated on the CPU, for tests on machines without one:
//
//	dev, err := emulated.Open()
//
// The device is package device/cuda's, over an emulated driver with all checks on: kernels have a GPU's bits, and races,
// addresses out of bounds and missing synchronisation are errors, which say what, in which thread and instruction. Its times mean nothing. Its memory
// is 2 GiB, so that BERT base is trained there. What is noted of bytes comes beside that: there a LAMB takes 5.1 GB of the
// host.
//
// It needs the build that package device/cuda needs: a program built by
//
//	go run github.com/fusestep/fusestep/device/cuda/gocuda build
//
// In others Open returns device.ErrUnavailable.
package emulated
