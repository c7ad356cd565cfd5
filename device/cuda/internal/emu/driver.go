//go:build cuda && cgo && linux

package emu

import (
	"maps"
	"slices"
	"sync"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
)

// Config is what is emulated. The zero Config is one small GPU that checks what hardware checks.
type Config struct {
	Devices     int          // 0 means 1
	MemoryBytes int64        // of each device; 0 means 1 GiB
	Processors  int          // multiprocessors of each device; 0 means 4
	Checks      ptxvm.Checks // that hardware does not make
	Seed        uint64       // if not 0, blocks and warps run in another order at every launch
	Budget      uint64       // instructions that a warp may execute; 0 means ptxvm.DefaultBudget

	// Trace, if not nil, is told of each thread's accesses to global memory, of several at the same time.
	Trace func(kernel string, addr, bytes uint64, write bool)
}

// Driver is an emulated driver and its devices. Drivers have nothing in common but the process's addresses.
type Driver struct {
	config Config

	mu       sync.Mutex // held during every call
	devices  []*gpu
	objects  map[uint64]any // by handle: *context, *module, *function, *stream, *event, *graph, *graphExec
	modes    map[int]uint64 // by thread, of cuThreadExchangeStreamCaptureMode
	count    map[driver.Entry]int
	injected []injection
	faults   []error
	launches uint64
}

// injection is a call that is to fail.
type injection struct {
	entry driver.Entry
	nth   int
	code  driver.Result
}

// New makes a driver. It answers once it is installed. Where the process may not have the addresses that the emulation reserves,
// it answers every call with CUDA_ERROR_OUT_OF_MEMORY.
func New(c Config) *Driver {
	if c.Devices == 0 {
		c.Devices = 1
	}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = 1 << 30
	}
	if c.Processors == 0 {
		c.Processors = 4
	}
	d := &Driver{config: c, objects: map[uint64]any{}, modes: map[int]uint64{}, count: map[driver.Entry]int{}}
	for i := 0; space() != nil && i < c.Devices; i++ {
		d.devices = append(d.devices, &gpu{d: d, ordinal: i, memory: space().NewMemory()})
	}
	return d
}

// Install puts the driver in front of any that there is, for the whole process. Errors that a kernel's fault brings about have it as their
// cause. restore removes the driver.
func (d *Driver) Install() (restore func()) {
	hook, explain := driver.SetHook(d.call), driver.Explain(d.cause)
	return func() {
		hook()
		explain()
	}
}

// cause is the fault of which a device's calls return a result, nil if there is none.
func (d *Driver) cause(r driver.Result) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.devices {
		if g.primary != nil && g.primary.fault != nil && g.primary.failed == r {
			return g.primary.fault
		}
	}
	return nil
}

// call is the hook.
func (d *Driver) call(e driver.Entry, args []uint64) (driver.Result, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count[e]++
	if len(d.devices) == 0 {
		return driver.ErrorOutOfMemory, true
	}
	for i, f := range d.injected {
		if f.entry == e && f.nth == d.count[e] {
			d.injected = slices.Delete(d.injected, i, i+1)
			return f.code, true
		}
	}
	if f := entries[e]; f != nil {
		return f(d, args), true
	}
	f := contextEntries[e]
	if f == nil {
		return driver.ErrorNotSupported, true
	}
	c, result := d.current()
	if result == driver.Success {
		result = c.allows(e)
	}
	if result == driver.Success {
		result = f(c, args)
	}
	return result, true
}

// Fail makes the n-th call of an entry from now on, the first is 1, return code and do nothing.
func (d *Driver) Fail(e driver.Entry, n int, code driver.Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.injected = append(d.injected, injection{e, d.count[e] + n, code})
}

// Calls is how often each entry has been called.
func (d *Driver) Calls() map[driver.Entry]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.count)
}

// Faults is what kernels and copies have done wrong, each an error of package ptxvm, in order.
func (d *Driver) Faults() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.faults)
}

// Live is what has been made and not been given back, on all devices.
type Live struct {
	Contexts, Modules, Streams, Events int
	Graphs                             int // those that can be launched included
	Allocations                        int
	Bytes                              uint64
	Host                               int // pieces of pinned memory, registered ones included
}

// Live counts what there is now.
func (d *Driver) Live() Live {
	d.mu.Lock()
	defer d.mu.Unlock()
	var l Live
	for _, g := range d.devices {
		n, bytes := g.memory.Live()
		l.Allocations, l.Bytes = l.Allocations+n, l.Bytes+bytes
		if g.primary != nil {
			l.Contexts++
			l.Host += len(g.primary.host)
		}
	}
	for _, o := range d.objects {
		switch o.(type) {
		case *module:
			l.Modules++
		case *stream:
			l.Streams++
		case *event:
			l.Events++
		case *graph, *graphExec:
			l.Graphs++
		}
	}
	return l
}
