//go:build cuda && cgo && linux

package emu

import (
	"fmt"
	"unsafe"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
)

// gpu is a device and its primary context, nil while nobody retains it.
type gpu struct {
	d       *Driver
	ordinal int
	memory  *ptxvm.Memory
	primary *context
}

// Version is the CUDA version that the driver claims, 12.4.
const Version = 12040

func (d *Driver) version(args []uint64) driver.Result { return answer(args[0], int32(Version)) }

func (d *Driver) deviceCount(args []uint64) driver.Result {
	return answer(args[0], int32(len(d.devices)))
}

// gpu is a device by the handle in an argument, which is its number.
func (d *Driver) gpu(handle uint64) (*gpu, driver.Result) {
	if handle >= uint64(len(d.devices)) {
		return nil, driver.ErrorInvalidDevice
	}
	return d.devices[handle], driver.Success
}

func (d *Driver) deviceGet(args []uint64) driver.Result {
	g, result := d.gpu(args[1])
	if g == nil {
		return result
	}
	return answer(args[0], int32(g.ordinal))
}

func (d *Driver) deviceName(args []uint64) driver.Result {
	g, result := d.gpu(args[2])
	if g == nil {
		return result
	}
	if args[0] == 0 || int64(args[1]) < 1 {
		return driver.ErrorInvalidValue
	}
	name := unsafe.Slice(driver.Pointer[byte](args[0]), args[1])
	name[copy(name[:len(name)-1], "Emulated GPU")] = 0
	return driver.Success
}

func (d *Driver) deviceTotalMem(args []uint64) driver.Result {
	g, result := d.gpu(args[1])
	if g == nil {
		return result
	}
	return answer(args[0], uint64(d.config.MemoryBytes))
}

// attributes are those of a GPU of compute capability 9.0, by the numbers of CUdevice_attribute.
var attributes = map[uint64]int32{
	1: 1024,                 // MAX_THREADS_PER_BLOCK
	2: 1024, 3: 1024, 4: 64, // MAX_BLOCK_DIM_X, Y, Z
	5: 1<<31 - 1, 6: 65535, 7: 65535, // MAX_GRID_DIM_X, Y, Z
	8:  48 << 10,  // MAX_SHARED_MEMORY_PER_BLOCK
	9:  64 << 10,  // TOTAL_CONSTANT_MEMORY
	10: 32,        // WARP_SIZE
	12: 64 << 10,  // MAX_REGISTERS_PER_BLOCK
	13: 1_000_000, // CLOCK_RATE, kHz
	15: 1,         // GPU_OVERLAP
	31: 1,         // CONCURRENT_KERNELS
	36: 1_000_000, // MEMORY_CLOCK_RATE, kHz
	37: 1024,      // GLOBAL_MEMORY_BUS_WIDTH
	38: 32 << 20,  // L2_CACHE_SIZE
	39: 2048,      // MAX_THREADS_PER_MULTIPROCESSOR
	40: 1,         // ASYNC_ENGINE_COUNT
	75: 9, 76: 0,  // COMPUTE_CAPABILITY_MAJOR, MINOR
	81:  228 << 10, // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
	82:  64 << 10,  // MAX_REGISTERS_PER_MULTIPROCESSOR
	97:  227 << 10, // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
	115: 0,         // MEMORY_POOLS_SUPPORTED
}

const (
	multiprocessorCount = 16
	lastAttribute       = 200 // there are fewer
)

// deviceAttribute answers 0 for what the emulation lacks.
func (d *Driver) deviceAttribute(args []uint64) driver.Result {
	g, result := d.gpu(args[2])
	switch {
	case g == nil:
		return result
	case args[1] == 0 || args[1] > lastAttribute:
		return driver.ErrorInvalidValue
	case args[1] == multiprocessorCount:
		return answer(args[0], int32(d.config.Processors))
	}
	return answer(args[0], attributes[args[1]])
}

// sentences are the driver's own, of the results that the emulation has.
var sentences = map[driver.Result]string{
	driver.Success:                   "no error",
	driver.ErrorInvalidValue:         "invalid argument",
	driver.ErrorOutOfMemory:          "out of memory",
	driver.ErrorInvalidDevice:        "invalid device ordinal",
	driver.ErrorInvalidContext:       "invalid device context",
	driver.ErrorInvalidPtx:           "a PTX JIT compilation failed",
	driver.ErrorInvalidHandle:        "invalid resource handle",
	driver.ErrorNotFound:             "named symbol not found",
	driver.ErrorNotReady:             "device not ready",
	driver.ErrorIllegalAddress:       "an illegal memory access was encountered",
	driver.ErrorLaunchOutOfResources: "too many resources requested for launch",
	driver.ErrorLaunchTimeout:        "the launch timed out and was terminated",
	driver.ErrorContextIsDestroyed:   "context is destroyed",
	driver.ErrorMisalignedAddress:    "misaligned address",
	driver.ErrorLaunchFailed:         "unspecified launch failure",
	driver.ErrorNotSupported:         "operation not supported",

	driver.ErrorIllegalState:             "the operation cannot be performed in the present state",
	driver.ErrorStreamCaptureUnsupported: "operation not permitted when stream is capturing",
	driver.ErrorStreamCaptureInvalidated: "operation failed due to a previous error during capture",
	driver.ErrorStreamCaptureMerge:       "operation would result in a merge of separate capture sequences",
	driver.ErrorStreamCaptureIsolation:   "dependency created on uncaptured work in another stream",
	driver.ErrorStreamCaptureImplicit:    "operation would make the legacy stream depend on a capturing blocking stream",
	driver.ErrorCapturedEvent:            "operation not permitted on an event last recorded in a capturing stream",
	driver.ErrorStreamCaptureWrongThread: "attempt to terminate a thread-local capture sequence from another thread",
}

func (d *Driver) errorName(args []uint64) driver.Result {
	name := driver.Result(args[0]).String()
	if name == fmt.Sprintf("CUresult(%d)", args[0]) {
		_ = answer(args[1], uint64(0))
		return driver.ErrorInvalidValue
	}
	return answer(args[1], word(name))
}

func (d *Driver) errorString(args []uint64) driver.Result {
	s := sentences[driver.Result(args[0])]
	if s == "" {
		return d.errorName(args)
	}
	return answer(args[1], word(s))
}
