//go:build !linux

package cpu

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
)

// mapMemory has nothing better than Go's allocator here, which panics where it is asked for more than there are addresses.
func mapMemory(n int) (mapped, b []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%d bytes: %w (%v)", n, device.ErrOutOfMemory, r)
		}
	}()
	return nil, aligned(make([]byte, n+cacheLine), n, cacheLine), nil
}

func unmapMemory([]byte) error { return nil }

func memInfo(string) (free, total int64, err error) {
	return 0, 0, fmt.Errorf("memory: %w on this system", device.ErrUnavailable)
}
