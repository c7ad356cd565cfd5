//go:build cuda && cgo && linux

// Command libcuda is the emulated GPU as a libcuda.so.1, for programs that open NVIDIA's driver by that name, on machines without one:
//
//	go run ./device/cuda/gocuda build -buildmode=c-shared -o folder/libcuda.so.1 ./device/cuda/emulated/libcuda
//	LD_LIBRARY_PATH=folder program
//
// There are two GPUs. Entries of the driver API that fusestep has no use for fail with CUDA_ERROR_NOT_SUPPORTED or are not there: it is for
// tests of what calls fusestep, and no driver for CUDA's runtime.
package main

import "C"

import (
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
)

//export fusestepReady
func fusestepReady() {} // whoever calls it waits until the emulated driver is installed

func init() { emu.New(emu.Config{Devices: 2, Checks: ptxvm.AllChecks}).Install() }

func main() {}
