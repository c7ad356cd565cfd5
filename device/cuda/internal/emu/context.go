//go:build cuda && cgo && linux

package emu

import (
	"errors"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
)

// context is a primary context: what has been made on a device, until the last who retained it lets go.
type context struct {
	d         *Driver
	gpu       *gpu
	handle    uint64
	retained  int
	destroyed bool
	failed    driver.Result // by a kernel: what every call returns from then on
	fault     error         // of that kernel

	null    *stream
	streams []*stream // those that can have work: also destroyed ones
	host    map[*pinned]bool
}

// currentContext is where a thread keeps the handle of its current context.
const currentContext = 0

// current is the calling thread's context, if work can be done in it.
func (d *Driver) current() (*context, driver.Result) {
	c, ok := d.objects[driver.ThreadLocal(currentContext)].(*context)
	switch {
	case !ok:
		return nil, driver.ErrorInvalidContext
	case c.destroyed:
		return nil, driver.ErrorContextIsDestroyed
	}
	return c, c.failed
}

func (d *Driver) setCurrent(args []uint64) driver.Result {
	if args[0] != 0 {
		c, ok := d.objects[args[0]].(*context)
		switch {
		case !ok:
			return driver.ErrorInvalidContext
		case c.destroyed:
			return driver.ErrorContextIsDestroyed
		}
	}
	driver.SetThreadLocal(currentContext, args[0])
	return driver.Success
}

func (d *Driver) getCurrent(args []uint64) driver.Result {
	handle := driver.ThreadLocal(currentContext)
	if _, ok := d.objects[handle].(*context); !ok {
		handle = 0 // another driver's
	}
	return answer(args[0], handle)
}

func (c *context) device(args []uint64) driver.Result { return answer(args[0], int32(c.gpu.ordinal)) }

func (d *Driver) retain(args []uint64) driver.Result {
	g, result := d.gpu(args[1])
	if g == nil {
		return result
	}
	if g.primary == nil {
		c := &context{d: d, gpu: g, handle: newHandle(), host: map[*pinned]bool{}}
		c.null = &stream{ctx: c}
		c.streams = []*stream{c.null}
		d.objects[c.handle] = c
		g.primary = c
	}
	g.primary.retained++
	return answer(args[0], g.primary.handle)
}

func (d *Driver) release(args []uint64) driver.Result {
	g, result := d.gpu(args[0])
	switch {
	case g == nil:
		return result
	case g.primary == nil:
		return driver.ErrorInvalidContext
	}
	if g.primary.retained--; g.primary.retained == 0 {
		return g.primary.destroy()
	}
	return driver.Success
}

func (d *Driver) reset(args []uint64) driver.Result {
	g, result := d.gpu(args[0])
	if g == nil || g.primary == nil {
		return result
	}
	return g.primary.destroy()
}

func (d *Driver) primaryState(args []uint64) driver.Result {
	g, result := d.gpu(args[0])
	if g == nil {
		return result
	}
	active := int32(0)
	if g.primary != nil {
		active = 1
	}
	_ = answer(args[1], uint32(0))
	return answer(args[2], active)
}

// destroy gives back what is left on the device. Work that nobody waited for is lost.
func (c *context) destroy() driver.Result {
	c.destroyed = true
	c.gpu.primary = nil
	for handle, o := range c.d.objects {
		if m, ok := o.(member); ok && m.context() == c {
			delete(c.d.objects, handle)
		}
	}
	c.gpu.memory.FreeAll()
	for p := range c.host {
		p.free()
	}
	c.host, c.streams, c.null = nil, nil, nil
	return driver.Success
}

// member is an object of a context.
type member interface{ context() *context }

// add makes an object's handle.
func (c *context) add(o member) uint64 {
	handle := newHandle()
	c.d.objects[handle] = o
	return handle
}

// find is the context's object with a handle.
func find[T member](c *context, handle uint64) (o T, result driver.Result) {
	o, ok := c.d.objects[handle].(T)
	if !ok || o.context() != c {
		return o, driver.ErrorInvalidHandle
	}
	return o, driver.Success
}

// fail ends the context's work, for something that it did wrong.
func (c *context) fail(err error) {
	const enough = 100
	if len(c.d.faults) < enough {
		c.d.faults = append(c.d.faults, err)
	}
	c.failed, c.fault = driver.ErrorLaunchFailed, err
	var f *ptxvm.Fault
	switch {
	case errors.As(err, &f):
		switch f.Kind {
		case ptxvm.IllegalAddress, ptxvm.UseAfterFree:
			c.failed = driver.ErrorIllegalAddress
		case ptxvm.Misaligned:
			c.failed = driver.ErrorMisalignedAddress
		case ptxvm.Budget:
			c.failed = driver.ErrorLaunchTimeout
		}
	case errors.Is(err, ptxvm.ErrAddress):
		c.failed = driver.ErrorIllegalAddress
	}
	for _, s := range c.streams {
		s.queue = nil
	}
}
