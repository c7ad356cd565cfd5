//go:build cuda && cgo && linux

package emu_test

import (
	"testing"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/emu"
	"github.com/fusestep/fusestep/device/cuda/emu/ptxvm"
	"github.com/fusestep/fusestep/device/devicetest"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/optim"
)

func TestDevice(t *testing.T) {
	install(t, emu.Config{})
	devicetest.Run(t, func(t *testing.T) *device.Device { return open(t).Device() })
}

// TestKernels holds every kernel that is emitted to the rule's graph, bit for bit, with all checks on and the blocks and warps in
// an order of chance.
func TestKernels(t *testing.T) {
	install(t, emu.Config{Checks: ptxvm.AllChecks, Seed: 1})
	kerneltest.Run(t, optim.Rules(), func(t *testing.T) kernels.Backend { return open(t) })
}
