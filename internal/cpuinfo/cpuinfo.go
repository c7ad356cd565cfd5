// Package cpuinfo says what the machine's processor is.
package cpuinfo

import (
	"os"
	"strings"
)

// Model is the processor's name, or "" where the system does not tell. Linux does.
func Model() string { return entry("model name") }

// Family is the vendor and the family that the processor names, such as "AuthenticAMD 25", or "" where the system does not tell.
func Family() string { return strings.TrimSpace(entry("vendor_id") + " " + entry("cpu family")) }

// entry is the first of a name in /proc/cpuinfo.
func entry(wanted string) string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == wanted {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
