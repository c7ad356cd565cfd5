//go:build cuda && cgo && linux

package emu

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
)

// pinned is host memory that copies can use while the host goes on.
type pinned struct {
	at, n  uint64
	mapped []byte // nil if the caller's, registered
	freed  bool
}

// pinned is the piece that an address is in, or nil.
func (c *context) pinned(at uint64) *pinned {
	for p := range c.host {
		if at-p.at < p.n {
			return p
		}
	}
	return nil
}

// hostAlloc maps pages of their own, so that their use after hostFree is a crash.
func (c *context) hostAlloc(args []uint64) driver.Result {
	n := args[1]
	if args[0] == 0 || n == 0 || n > 1<<40 {
		return driver.ErrorInvalidValue
	}
	mapped, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return driver.ErrorOutOfMemory
	}
	mapped[0] = 0xA5
	for n := 1; n < len(mapped); n *= 2 {
		copy(mapped[n:], mapped[:n])
	}
	p := &pinned{at: uint64(uintptr(unsafe.Pointer(&mapped[0]))), n: n, mapped: mapped}
	c.host[p] = true
	return answer(args[0], p.at)
}

func (c *context) hostFree(args []uint64) driver.Result {
	return c.hostRemove(args[0], true, driver.ErrorInvalidValue)
}

func (c *context) hostRegister(args []uint64) driver.Result {
	at, n := args[0], args[1]
	if at == 0 || n == 0 {
		return driver.ErrorInvalidValue
	}
	for p := range c.host {
		if at < p.at+p.n && p.at < at+n {
			return driver.ErrorHostMemoryAlreadyRegistered
		}
	}
	c.host[&pinned{at: at, n: n}] = true
	return driver.Success
}

func (c *context) hostUnregister(args []uint64) driver.Result {
	return c.hostRemove(args[0], false, driver.ErrorHostMemoryNotRegistered)
}

// hostRemove does not wait for the device. A copy that comes later fails.
func (c *context) hostRemove(at uint64, mapped bool, otherwise driver.Result) driver.Result {
	p := c.pinned(at)
	if p == nil || p.at != at || (p.mapped != nil) != mapped {
		return otherwise
	}
	delete(c.host, p)
	p.free()
	return driver.Success
}

func (p *pinned) free() {
	p.freed = true
	if p.mapped != nil {
		_ = unix.Munmap(p.mapped)
	}
}
