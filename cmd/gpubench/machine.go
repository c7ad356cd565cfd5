package main

import (
	"runtime"

	"github.com/fusestep/fusestep/internal/cpuinfo"
)

// machine is what the results were measured on.
type machine struct {
	GOOS       string `json:"goos"`
	GOARCH     string `json:"goarch"`
	CPU        string `json:"cpu"` // "" where the system does not tell
	Processors int    `json:"processors"`
	GPU        string `json:"gpu"`          // "" where steps run on the CPU
	Memory     int64  `json:"memory_bytes"` // of the device; 0 where the system does not tell
	Go         string `json:"go"`
}

func describeMachine(t *target) machine {
	_, total, _ := t.backend.Device().MemInfo() // 0 on an error
	return machine{runtime.GOOS, runtime.GOARCH, cpuinfo.Model(), runtime.GOMAXPROCS(0), t.gpu, total, runtime.Version()}
}
