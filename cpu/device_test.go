package cpu

import (
	"fmt"
	"testing"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/devicetest"
)

func TestDevice(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		t.Run(fmt.Sprintf("%d threads", threads), func(t *testing.T) {
			devicetest.Run(t, func(*testing.T) *device.Device { return NewThreads(threads).Device() })
		})
	}
}
