//go:build !cuda || !cgo || !linux

// Command libcuda is the emulated GPU as a libcuda.so.1: it is built by device/cuda/gocuda, on Linux.
package main

func main() {}
