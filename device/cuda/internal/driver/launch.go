//go:build cuda && cgo && linux

package driver

// #include "shim.h"
//
// static inline CUresult fs_set_attribute(uintptr_t f, CUfunction_attribute a, int v)
// {
//   return cuFuncSetAttribute((CUfunction)f, a, v);
// }
//
// enum { FS_MAX_PARAMETERS = 512 };
//
// static inline CUresult fs_launch(uintptr_t f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
//                                  unsigned bz, unsigned shared, uintptr_t s, uint64_t *words, unsigned n)
// {
//   void *params[FS_MAX_PARAMETERS];
//   for (unsigned i = 0; i < n; i++)
//     params[i] = &words[i];
//   return cuLaunchKernel((CUfunction)f, gx, gy, gz, bx, by, bz, shared, (CUstream)s, params, 0);
// }
import "C"

import "unsafe"

// Function is a kernel, a CUfunction.
type Function uintptr

// FunctionAttribute is a property of a kernel that can be set.
type FunctionAttribute uint32

const (
	// MaxDynamicShared is the most bytes of dynamic shared memory that a launch may ask for; above 48 KiB it must be
	// raised first.
	MaxDynamicShared FunctionAttribute = C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
	// SharedCarveout is the preferred share of the L1 cache to use as shared memory, in percent; -1 is the default.
	SharedCarveout FunctionAttribute = C.CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT
)

// SetAttribute changes a property of the kernel.
func (f Function) SetAttribute(a FunctionAttribute, v int) error {
	return check(CuFuncSetAttribute, C.fs_set_attribute(C.uintptr_t(f), C.CUfunction_attribute(a), C.int(v)))
}

// MaxParameters is how many parameters [Function.Launch] takes, as many as fit into the 4 KiB a kernel may have.
const MaxParameters = C.FS_MAX_PARAMETERS

// Launch enqueues the kernel. Each word is one parameter, in order, whatever its size: a smaller one lies in the
// word's low bytes. The words are read before Launch returns. shared is the number of bytes of dynamic shared memory.
func (f Function) Launch(grid, block [3]uint32, shared uint32, s Stream, words []uint64) error {
	if len(words) > MaxParameters {
		return &Error{Entry: CuLaunchKernel, Result: ErrorInvalidValue}
	}
	return check(CuLaunchKernel, C.fs_launch(C.uintptr_t(f),
		C.uint(grid[0]), C.uint(grid[1]), C.uint(grid[2]), C.uint(block[0]), C.uint(block[1]), C.uint(block[2]),
		C.uint(shared), C.uintptr_t(s), (*C.uint64_t)(unsafe.SliceData(words)), C.uint(len(words))))
}
