//go:build cuda && cgo && linux

package emu

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
)

// Handles and device addresses are numbers in a part of the process's address space where no host memory can ever lie: it
// is reserved, and touching it is a crash. So Go's collector, which finds handles in variables of pointer type, takes
// none of them for memory of its own, and host code that takes a device address for a pointer does not get far.

const (
	handleStep  = 64
	handleSpace = 1 << 36
)

// affordable says whether the process can still have n bytes. Go's allocator would end it where it cannot, and takes its memory by the
// 64 MiB.
func affordable(n uint64) bool {
	const arena = 64 << 20
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(n)+2*arena, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	return err == nil && unix.MunmapPtr(p, uintptr(n)+2*arena) == nil
}

// space reserves the addresses, once in a process. It is nil where the process may not have them.
var space = sync.OnceValue(func() *ptxvm.Space {
	hint := unsafe.Pointer(driver.Pointer[byte](ptxvm.DefaultBase))          // for addresses that are easy to recognize
	for size := uintptr(ptxvm.DefaultSpace); size > handleSpace; size /= 4 { // less where the process is limited
		p, err := unix.MmapPtr(-1, 0, hint, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err == nil {
			base := uint64(uintptr(p))
			lastHandle.Store(base)
			return ptxvm.NewSpace(base+handleSpace, uint64(size)-handleSpace)
		}
	}
	return nil
})

var lastHandle atomic.Uint64

// newHandle is a handle that nobody has had.
func newHandle() uint64 {
	space()
	return lastHandle.Add(handleStep)
}

// words are C strings that are never freed, as those that the driver hands out.
var words struct {
	sync.Mutex
	at   map[string]uint64
	free []byte
}

// word is the address of a C string.
func word(s string) uint64 {
	words.Lock()
	defer words.Unlock()
	if p, ok := words.at[s]; ok {
		return p
	}
	if len(words.free) <= len(s) {
		var err error
		if words.free, err = unix.Mmap(-1, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
			return 0
		}
	}
	p := uint64(uintptr(unsafe.Pointer(&words.free[0])))
	copy(words.free, s)
	words.free = words.free[len(s)+1:]
	if words.at == nil {
		words.at = map[string]uint64{}
	}
	words.at[s] = p
	return p
}
