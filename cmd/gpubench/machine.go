package main

import (
	"os"
	"runtime"
	"strings"

	"github.com/fusestep/fusestep/device"
)

// machine is what the results were measured on.
type machine struct {
	GOOS       string `json:"goos"`
	GOARCH     string `json:"goarch"`
	CPU        string `json:"cpu"` // "" where the system does not tell
	Processors int    `json:"processors"`
	Memory     int64  `json:"memory_bytes"` // 0 where the system does not tell
	Go         string `json:"go"`
}

func describeMachine(dev *device.Device) machine {
	_, total, _ := dev.MemInfo() // 0 on an error
	return machine{runtime.GOOS, runtime.GOARCH, cpuModel(), runtime.GOMAXPROCS(0), total, runtime.Version()}
}

// cpuModel is the processor's name, where Linux tells it.
func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
