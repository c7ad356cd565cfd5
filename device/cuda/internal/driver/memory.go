//go:build cuda && cgo && linux

package driver

// #include "shim.h"
//
// static inline CUresult fs_alloc_async(CUdeviceptr *p, size_t n, uintptr_t s) { return cuMemAllocAsync(p, n, (CUstream)s); }
// static inline CUresult fs_free_async(CUdeviceptr p, uintptr_t s) { return cuMemFreeAsync(p, (CUstream)s); }
import "C"

import "unsafe"

// DevicePtr is an address in device memory, a CUdeviceptr. It is a number to the host, never a Go pointer.
type DevicePtr uint64

// Stream is a CUstream; 0 is the default stream.
type Stream uintptr

// HostFlags say how pinned host memory is allocated or registered.
type HostFlags uint32

const (
	HostPortable      HostFlags = C.CU_MEMHOSTALLOC_PORTABLE      // pinned for every context, not the current one only
	HostDeviceMap     HostFlags = C.CU_MEMHOSTALLOC_DEVICEMAP     // mapped into the device's address space
	HostWriteCombined HostFlags = C.CU_MEMHOSTALLOC_WRITECOMBINED // for MemHostAlloc: fast to write, slow to read
	HostReadOnly      HostFlags = C.CU_MEMHOSTREGISTER_READ_ONLY  // for MemHostRegister: the device does not write
)

// MemHostAlloc allocates n bytes of pinned host memory, outside Go's heap, to be freed with [MemFreeHost].
func MemHostAlloc(n int, flags HostFlags) (unsafe.Pointer, error) {
	var p unsafe.Pointer
	err := check(CuMemHostAlloc, C.cuMemHostAlloc(&p, C.size_t(n), C.uint(flags)))
	return p, err
}

// MemFreeHost frees what MemHostAlloc returned.
func MemFreeHost(p unsafe.Pointer) error { return check(CuMemFreeHost, C.cuMemFreeHost(p)) }

// MemHostRegister pins n bytes at p, which must not move or be freed until [MemHostUnregister]; of Go memory, only
// what a runtime.Pinner holds.
func MemHostRegister(p unsafe.Pointer, n int, flags HostFlags) error {
	return check(CuMemHostRegister, C.cuMemHostRegister(p, C.size_t(n), C.uint(flags)))
}

// MemHostUnregister undoes MemHostRegister.
func MemHostUnregister(p unsafe.Pointer) error {
	return check(CuMemHostUnregister, C.cuMemHostUnregister(p))
}

// MemHostGetDevicePointer is the device's address of host memory that is pinned with HostDeviceMap.
func MemHostGetDevicePointer(p unsafe.Pointer) (DevicePtr, error) {
	var d C.CUdeviceptr
	err := check(CuMemHostGetDevicePointer, C.cuMemHostGetDevicePointer(&d, p, 0))
	return DevicePtr(d), err
}

// MemAllocAsync allocates n bytes of device memory in stream order, from the device's default pool. A device can do so
// when its attribute [DeviceAttributeMemoryPools] is not 0.
func MemAllocAsync(n int, s Stream) (DevicePtr, error) {
	var p C.CUdeviceptr
	err := check(CuMemAllocAsync, C.fs_alloc_async(&p, C.size_t(n), C.uintptr_t(s)))
	return DevicePtr(p), err
}

// DeviceAttributeMemoryPools is an attribute that gorgonia.org/cu has no name for.
const DeviceAttributeMemoryPools = C.CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED

// MemFreeAsync frees device memory in stream order.
func MemFreeAsync(p DevicePtr, s Stream) error {
	return check(CuMemFreeAsync, C.fs_free_async(C.CUdeviceptr(p), C.uintptr_t(s)))
}
