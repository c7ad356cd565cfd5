package main

import (
	"fmt"
	"regexp"

	"github.com/fusestep/fusestep/cmd/gpubench/internal/models"
	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// target is where steps run.
type target struct {
	backend kernels.Backend
	threads int    // 0 for a device that has none to choose
	traffic string // what the ceiling moves bytes with
}

// deviceDocs are the values of -device, for -list.
var deviceDocs = [][2]string{
	{"cpu", "this machine's processors"},
	{"cuda, cuda:N", "an NVIDIA GPU, the first or number N; not supported in this build"},
	{"emu", "an emulated GPU; not supported in this build"},
}

var cudaName = regexp.MustCompile(`^cuda(:[0-9]{1,4})?$`)

// checkDevice says whether there is a device of this name in any build.
func checkDevice(name string) error {
	if name == "cpu" || name == "emu" || cudaName.MatchString(name) {
		return nil
	}
	return models.Unknown("-device", name, "device", []string{"cpu", "cuda", "cuda:N", "emu"})
}

// openDevice opens what -device names.
func openDevice(name string, threads int) (*target, error) {
	if name == "cpu" {
		return &target{backend: cpu.NewThreads(threads), threads: threads, traffic: cpu.TrafficName()}, nil
	}
	return nil, fmt.Errorf("-device %s is %w: this build has no CUDA support; use -device cpu", name, device.ErrUnavailable)
}
