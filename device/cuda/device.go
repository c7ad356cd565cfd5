//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/driver"
	"github.com/fusestep/fusestep/kernels"
)

type checked = device.Device

// Device is one GPU. It is a kernels.Backend.
type Device struct {
	*checked
	gpu *gpu
}

// Count is the number of GPUs. Without a driver it fails with device.ErrUnavailable.
func Count() (int, error) {
	n, err := cu.NumDevices()
	if err != nil {
		err = failure(driver.CuDeviceGetCount, err)
		if e, ok := errors.AsType[*driver.Error](err); ok && e.Cause != nil {
			return 0, fmt.Errorf("%w: NVIDIA's %w", device.ErrUnavailable, e.Cause)
		}
		return 0, fmt.Errorf("%w: %w", device.ErrUnavailable, err)
	}
	return n, nil
}

// Open returns a GPU by its number, the first is 0. Where there is no driver, or no such GPU, it fails with
// device.ErrUnavailable.
func Open(ordinal int) (*Device, error) {
	n, err := Count()
	if err == nil && (ordinal < 0 || ordinal >= n) {
		err = fmt.Errorf("%w: the machine has %d CUDA devices", device.ErrUnavailable, n)
	}
	if err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, err)
	}
	g := &gpu{modules: map[kernels.Program]*module{}, memories: map[*memory]bool{}, queues: map[*queue]bool{},
		markers: map[*marker]bool{}, hosts: map[*staging]bool{}}
	if g.dev, err = cu.GetDevice(ordinal); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, failure(driver.CuDeviceGet, err))
	}
	if g.processors, err = g.dev.Attribute(cu.MultiprocessorCount); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, failure(driver.CuDeviceGetAttribute, err))
	}
	if g.ctx, err = g.dev.RetainPrimaryCtx(); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, failure(driver.CuDevicePrimaryCtxRetain, err))
	}
	d, err := device.New(fmt.Sprintf("cuda:%d", ordinal), g)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return &Device{d, g}, nil
}

// Device is the memory, the streams and the events.
func (d *Device) Device() *device.Device { return d.checked }

// Model is the GPU's name, such as "NVIDIA H200".
func (d *Device) Model() (string, error) {
	s, err := d.gpu.dev.Name()
	return s, failure(driver.CuDeviceGetName, err)
}

// gpu implements device.Driver.
type gpu struct {
	dev        cu.Device
	ctx        cu.CUContext
	processors int

	calls sync.Mutex // held by do

	mu       sync.Mutex // guards what follows
	modules  map[kernels.Program]*module
	norms    *normModule
	memories map[*memory]bool
	queues   map[*queue]bool
	markers  map[*marker]bool
	hosts    map[*staging]bool
}

// do runs calls of the driver on one thread with the context current, one do at a time. Afterwards the thread has the context that it
// had before, which is the caller's own, if it uses CUDA itself, or none: a call outside do fails every time and not only
// sometimes. f must not wait for the device: see wait.
func (g *gpu) do(f func() error) error {
	g.calls.Lock()
	defer g.calls.Unlock()
	return g.wait(f)
}

// wait is do for calls that wait for the device, which others must not wait for.
func (g *gpu) wait(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := cu.CurrentContext()
	if err != nil {
		return failure(driver.CuCtxGetCurrent, err)
	}
	if before != g.ctx {
		if err := cu.SetCurrentContext(g.ctx); err != nil {
			return failure(driver.CuCtxSetCurrent, err)
		}
		defer func() { _ = cu.SetCurrentContext(before) }()
	}
	return f()
}

func (g *gpu) MemInfo() (free, total int64, err error) {
	err = g.do(func() error {
		free, total, err = cu.MemInfo()
		return failure(driver.CuMemGetInfo, err)
	})
	return free, total, err
}

// Close gives back what is left. The first error is returned, after everything has been tried.
func (g *gpu) Close() error {
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for q := range g.queues {
		keep(q.Synchronize())
		keep(q.destroy())
	}
	for m := range g.markers {
		keep(m.destroy())
	}
	for m := range g.memories {
		keep(m.release())
	}
	for s := range g.hosts {
		keep(s.release())
	}
	for _, m := range g.modules {
		keep(m.unload(g))
	}
	if g.norms != nil {
		keep(g.norms.unload(g))
	}
	clear(g.queues)
	clear(g.markers)
	clear(g.memories)
	clear(g.hosts)
	clear(g.modules)
	g.norms = nil
	keep(failure(driver.CuDevicePrimaryCtxRelease, g.dev.ReleasePrimaryCtx()))
	return first
}
