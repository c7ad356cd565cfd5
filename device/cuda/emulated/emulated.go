//go:build cuda && cgo && linux

package emulated

import (
	"sync"

	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
)

// install is once, as devices of one driver can meet and those of two cannot.
var install = sync.OnceFunc(func() { emu.New(emu.Config{MemoryBytes: 2 << 30, Checks: ptxvm.AllChecks}).Install() })

// Open returns the emulated GPU, "cuda:0", each time as a device of its own. The emulated driver stays in front of a real one for the
// rest of the process. It fails with device.ErrUnavailable where the program was built without CUDA, and where the process may not have
// the address space that the emulation reserves.
func Open() (*cuda.Device, error) {
	install()
	return cuda.Open(0)
}
