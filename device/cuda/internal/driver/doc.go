// Package driver lets gorgonia.org/cu be built, linked and started on a machine that has neither a CUDA toolkit nor a
// driver, and puts one Go function, the hook, between it and the driver.
//
// gorgonia.org/cu includes <cuda.h>, links with -lcuda, and calls cuInit in its package init, exiting the process when
// that fails. This directory holds a cuda.h of our own, an empty libcuda.a for the linker, and a forwarder for every
// function that cu refers to. The forwarder of cuInit succeeds without doing anything. The first other call opens
// libcuda.so.1 and initializes it; when that fails, that call and all later ones return an error, and [LoadError]
// says why.
//
// A hook, installed with [SetHook], sees every call before the library does and may answer it. An emulated device, a
// trace and a fault injector are each one such function; no build tag selects them.
//
// Beside that the package has thin Go calls for what cu lacks: pinned and stream-ordered memory, stream capture and
// graphs, function attributes, host functions, and a kernel launch that does not allocate.
//
// Everything here needs the build tag cuda, cgo, and Linux; otherwise the package is empty. cu finds the header only
// through CGO_CPPFLAGS; the command device/cuda/gocuda runs the go command with that set.
//
// cuda.h, forward.c, table.h, table.go and libcuda.a are generated from the tables in internal/gen.
package driver

//go:generate go run ./internal/gen -o .
