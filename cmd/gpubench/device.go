package main

import (
	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
)

// target is where steps run.
type target struct {
	backend   kernels.Backend
	name      string // as results call it
	gpu       string // the GPU's model; "" for a device that is none
	threads   int    // 0 for a device that has none to choose
	traffic   string // what the ceiling moves bytes with
	copyBytes int64  // in each of the buffers that the copy peak is measured with: more than caches hold
	note      string // what a reader of its times must know; "" if nothing
}

// deviceDocs are the values of -device, for -list.
func deviceDocs() [][2]string {
	missing := ""
	if !gpu.Built {
		missing = "; not in this build, which has no CUDA: see make cuda"
	}
	return [][2]string{
		{"cpu", "this machine's processors"},
		{"cuda, cuda:N", "an NVIDIA GPU, the first or number N" + missing},
		{"emu", "an emulated GPU, whose times mean nothing" + missing},
	}
}

// openDevice opens what -device names.
func openDevice(name string, threads int) (*target, error) {
	if name == "cpu" {
		return &target{backend: cpu.NewThreads(threads), name: name, threads: threads, traffic: cpu.TrafficName(), copyBytes: 64 << 20}, nil
	}
	g, err := gpu.Open(name)
	if err != nil {
		return nil, err
	}
	t := &target{backend: g, name: g.Device().Name(), gpu: g.Model, traffic: "a kernel that only loads and stores", copyBytes: 512 << 20}
	if g.Emulated {
		t.name, t.note, t.copyBytes = name, gpu.TimesMeanNothing, 1<<20
	}
	return t, nil
}
