// Package cpuinfo says what processor measurements were made on.
package cpuinfo

import (
	"os"
	"strings"
)

// Model is the processor's name, or "" where the system does not tell. Linux does.
func Model() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
