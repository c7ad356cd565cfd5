//go:build cuda && cgo && linux

package driver

// #include "shim.h"
import "C"

import (
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Hook is offered a call of the driver API before the library is.
//
// args are the C arguments in order, a word each: pointers and handles as their address, integers extended with their
// sign, a float as its 32 bits. A parameter that C passes by pointer is that pointer; [Pointer] makes a Go pointer of
// it. args, and memory that they point to, belong to the caller and are valid during the call only.
//
// Handles that a hook makes up end in Go variables of pointer type, where the runtime looks at them: they must be at
// least 4096 and no addresses of Go memory.
//
// With handled the result is what the caller gets, and neither an older hook nor the library sees the call. Without,
// the result is ignored.
//
// A hook runs on the caller's OS thread, and on several threads at once. It must not panic, as there is C code between
// it and the caller. What it calls of the driver API is offered to the hooks too.
type Hook func(e Entry, args []uint64) (result Result, handled bool)

var (
	hookMutex sync.Mutex
	hooks     atomic.Pointer[[]*Hook] // newest last; never changed in place
)

// SetHook installs a hook for the whole process, in front of those there are. restore removes it again, in any order
// and as often as one likes. It does not wait for calls that are inside the hook.
func SetHook(h Hook) (restore func()) {
	own := &h
	changeHooks(func(s []*Hook) []*Hook { return append(s, own) })
	return func() {
		changeHooks(func(s []*Hook) []*Hook {
			return slices.DeleteFunc(s, func(other *Hook) bool { return other == own })
		})
	}
}

var explain atomic.Pointer[func(Result) error]

// Explain is for who installs a hook and knows more of a result than its code: errors of this package carry what f returns, unless that is
// nil. restore brings back what was before, where nobody has called Explain since.
func Explain(f func(Result) error) (restore func()) {
	before := explain.Swap(&f)
	return func() { explain.CompareAndSwap(&f, before) }
}

func changeHooks(change func([]*Hook) []*Hook) {
	hookMutex.Lock()
	defer hookMutex.Unlock()
	var next []*Hook
	if old := hooks.Load(); old != nil {
		next = slices.Clone(*old)
	}
	next = change(next)
	hooks.Store(&next)
	C.fs_hooks_set(C.uint(len(next)))
}

//export fusestepDriverHook
func fusestepDriverHook(entry C.uint, words *C.uint64_t, n C.uint, result *C.CUresult) C.int {
	installed := hooks.Load()
	if installed == nil {
		return 0
	}
	args := unsafe.Slice((*uint64)(words), int(n))
	for _, h := range slices.Backward(*installed) {
		if r, handled := (*h)(Entry(entry), args); handled {
			*result = C.CUresult(r)
			return 1
		}
	}
	return 0
}

// Pointer is the word of a hook's argument as a pointer. A plain conversion would do the same, but go vet and the
// checks of -race rightly distrust it: only a hook knows that the caller keeps the memory alive.
func Pointer[T any](word uint64) *T { return *(**T)(unsafe.Pointer(&word)) }

// ThreadLocals is how many values [ThreadLocal] keeps for each OS thread.
const ThreadLocals = C.FS_LOCALS

// ThreadLocal is a value that belongs to the calling OS thread, 0 until set. A hook keeps there what the driver keeps
// for each thread, such as the current context. The caller must stay on its thread (runtime.LockOSThread); inside a
// hook it does. Values outlive the hook that set them.
func ThreadLocal(i int) uint64 {
	checkLocal(i)
	return uint64(C.fs_local_get(C.uint(i)))
}

// SetThreadLocal changes what [ThreadLocal] returns on the calling OS thread.
func SetThreadLocal(i int, v uint64) {
	checkLocal(i)
	C.fs_local_set(C.uint(i), C.uint64_t(v))
}

func checkLocal(i int) {
	if uint(i) >= ThreadLocals {
		panic("driver: thread-local value out of range")
	}
}
