//go:build cuda && cgo && linux

package emu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
)

func (c *context) memInfo(args []uint64) driver.Result {
	_, used := c.gpu.memory.Live()
	total := uint64(c.d.config.MemoryBytes)
	if result := answer(args[0], total-used); result != driver.Success {
		return result
	}
	return answer(args[1], total)
}

func (c *context) memAlloc(args []uint64) driver.Result {
	_, used := c.gpu.memory.Live()
	switch n := args[1]; {
	case args[0] == 0 || n == 0:
		return driver.ErrorInvalidValue
	case n > uint64(c.d.config.MemoryBytes)-used, !affordable(n + n/4): // with what is noted of its bytes
		return driver.ErrorOutOfMemory
	}
	at, err := c.gpu.memory.Alloc(args[1])
	if err != nil {
		return driver.ErrorOutOfMemory
	}
	return answer(args[0], at)
}

// memFree waits for the device, as a driver's does.
func (c *context) memFree(args []uint64) driver.Result {
	if result := c.force(); result != driver.Success || args[0] == 0 {
		return result
	}
	if c.gpu.memory.Free(args[0]) != nil {
		return driver.ErrorInvalidValue
	}
	return driver.Success
}

func (c *context) addressRange(args []uint64) driver.Result {
	base, size, ok := c.gpu.memory.Lookup(args[2])
	if !ok {
		return driver.ErrorInvalidValue
	}
	_ = answer(args[0], base) // either may be null
	_ = answer(args[1], size)
	return driver.Success
}

// holds says whether n bytes at an address are allocated, as one piece.
func (c *context) holds(addr, n uint64) bool {
	base, size, ok := c.gpu.memory.Lookup(addr)
	return ok && n <= size-(addr-base)
}

// enqueue puts an operation on a stream. What a driver can see to be wrong at once is refused.
func (c *context) enqueue(stream uint64, valid bool, run func(m *ptxvm.Memory) error) driver.Result {
	s, result := c.stream(stream)
	switch {
	case result != driver.Success:
		return result
	case !valid:
		return driver.ErrorInvalidValue
	}
	return s.enqueue(operation{run: func() error { return run(c.gpu.memory) }})
}

// copyIn copies from the host: dst, src, n, stream.
func (c *context) copyIn(args []uint64) driver.Result {
	dst, src, n := args[0], args[1], args[2]
	if n == 0 {
		return driver.Success
	}
	if src == 0 || !c.holds(dst, n) {
		return driver.ErrorInvalidValue
	}
	s, result := c.stream(args[3])
	if result != driver.Success {
		return result
	}
	from := unsafe.Slice(driver.Pointer[byte](src), n)
	p := c.pinned(src)
	if p == nil && s.capture == nil {
		from = bytes.Clone(from)
	}
	return c.enqueue(args[3], true, func(m *ptxvm.Memory) error {
		if err := p.check("copy from"); err != nil {
			return err
		}
		return m.Write(dst, from)
	})
}

// copyOut copies to the host: dst, src, n, stream.
func (c *context) copyOut(args []uint64) driver.Result {
	dst, src, n := args[0], args[1], args[2]
	if n == 0 {
		return driver.Success
	}
	if dst == 0 || !c.holds(src, n) {
		return driver.ErrorInvalidValue
	}
	to := unsafe.Slice(driver.Pointer[byte](dst), n)
	p := c.pinned(dst)
	return c.enqueue(args[3], true, func(m *ptxvm.Memory) error {
		if err := p.check("copy to"); err != nil {
			return err
		}
		return m.Read(src, to)
	})
}

// copyOver copies on the device: dst, src, n, stream.
func (c *context) copyOver(args []uint64) driver.Result {
	dst, src, n := args[0], args[1], args[2]
	if n == 0 {
		return driver.Success
	}
	return c.enqueue(args[3], c.holds(dst, n) && c.holds(src, n), func(m *ptxvm.Memory) error { return m.Copy(dst, src, n) })
}

// set fills with values of some bytes each: dst, value, n, stream.
func set(size uint64) func(*context, []uint64) driver.Result {
	return func(c *context, args []uint64) driver.Result {
		dst, n := args[0], args[2]
		if n == 0 {
			return driver.Success
		}
		value := binary.LittleEndian.AppendUint64(nil, args[1])[:size]
		valid := dst%size == 0 && n <= 1<<60 && c.holds(dst, n*size)
		return c.enqueue(args[3], valid, func(m *ptxvm.Memory) error { return m.Set(dst, value, n) })
	}
}

// check says whether host memory is still there when its turn comes. That which is not pinned is the caller's to keep.
func (p *pinned) check(what string) error {
	if p == nil || !p.freed {
		return nil
	}
	return fmt.Errorf("emu: %s %d bytes of pinned host memory at %#x, which was freed: %w", what, p.n, p.at, ptxvm.ErrAddress)
}
