//go:build !linux

package cpu

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
)

// mapMemory has nothing better than Go's allocator here.
func mapMemory(int) (mapped, b []byte, err error) { return nil, nil, nil }

func unmapMemory([]byte) error { return nil }

func memInfo() (free, total int64, err error) {
	return 0, 0, fmt.Errorf("memory: %w on this system", device.ErrUnavailable)
}
