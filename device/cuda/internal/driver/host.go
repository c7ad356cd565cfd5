//go:build cuda && cgo && linux

package driver

// #include "shim.h"
//
// void fusestepHostFunc(void *data);
// static inline CUresult fs_launch_host(uintptr_t s, uintptr_t data)
// {
//   return cuLaunchHostFunc((CUstream)s, fusestepHostFunc, (void *)data);
// }
// static inline void fs_call_host(uint64_t f, uint64_t data) { ((CUhostFn)f)((void *)data); }
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// HostFunc is a Go function in a form that a stream can run. It stays valid, for any number of launches and for graphs
// that captured them, until Release.
type HostFunc struct{ handle cgo.Handle }

// NewHostFunc prepares f. It will run on a thread of the driver and must not call the driver API.
func NewHostFunc(f func()) HostFunc { return HostFunc{cgo.NewHandle(f)} }

// Release gives the function up. No launch of it may be outstanding.
func (h HostFunc) Release() { h.handle.Delete() }

// Launch enqueues one call; what is enqueued after it waits until it returns.
func (h HostFunc) Launch(s Stream) error {
	return check(CuLaunchHostFunc, C.fs_launch_host(C.uintptr_t(s), C.uintptr_t(h.handle)))
}

//export fusestepHostFunc
func fusestepHostFunc(data unsafe.Pointer) { cgo.Handle(uintptr(data)).Value().(func())() }

// CallHostFunc calls a CUhostFn: what a hook that emulates a stream does with the function and data of
// [CuLaunchHostFunc] when their turn comes.
func CallHostFunc(f, data uint64) { C.fs_call_host(C.uint64_t(f), C.uint64_t(data)) }
