//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/kernels"
)

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

// Open returns a GPU by its number, the first is 0. It fails with device.ErrUnavailable where there is no driver, where there is no such
// GPU, where the GPU is older than compute capability 7.0 (Volta, 2017), and in a program that was built without CUDA.
func Open(ordinal int) (*Device, error) {
	n, err := Count()
	if err == nil && (ordinal < 0 || ordinal >= n) {
		err = fmt.Errorf("%w: the machine has %d CUDA devices", device.ErrUnavailable, n)
	}
	if err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, err)
	}
	g := &gpu{modules: map[kernels.Spec]*module{}, norms: map[*kernels.Program]*normModule{}, memories: map[*memory]bool{}, queues: map[*queue]bool{},
		markers: map[*marker]bool{}, hosts: map[*staging]bool{}, graphs: map[*recording]bool{}}
	if g.dev, err = cu.GetDevice(ordinal); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, failure(driver.CuDeviceGet, err))
	}
	if err := g.recent(); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, err)
	}
	if g.processors, err = g.dev.Attribute(cu.MultiprocessorCount); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, failure(driver.CuDeviceGetAttribute, err))
	}
	if g.geometry, err = readGeometry(); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, err)
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

// recent says whether the GPU is new enough for what package ptx writes.
func (g *gpu) recent() error {
	const needed = 7
	major, err := g.dev.Attribute(cu.ComputeCapabilityMajor)
	if err != nil {
		return failure(driver.CuDeviceGetAttribute, err)
	}
	minor, err := g.dev.Attribute(cu.ComputeCapabilityMinor)
	if err != nil {
		return failure(driver.CuDeviceGetAttribute, err)
	}
	if major >= needed {
		return nil
	}
	name, err := g.dev.Name()
	if err != nil {
		return failure(driver.CuDeviceGetName, err)
	}
	return fmt.Errorf("%w: %s is too old: it has compute capability %d.%d, kernels need %d.0 (Volta, 2017) or later", device.ErrUnavailable, name, major, minor, needed)
}

// Model is the GPU's name, such as "NVIDIA H200". It fails with device.ErrClosed.
func (d *Device) Model() (string, error) {
	if err := d.usable(); err != nil {
		return "", err
	}
	s, err := d.gpu.dev.Name()
	return s, failure(driver.CuDeviceGetName, err)
}

// usable says whether the device is open.
func (d *Device) usable() error {
	if err := d.DefaultStream().Check(d.Device()); err != nil {
		return fmt.Errorf("cuda: device is %w", device.ErrClosed)
	}
	return nil
}

// gpu implements device.Processor.
type gpu struct {
	dev        cu.Device
	ctx        cu.CUContext
	processors int
	geometry   geometry

	calls sync.Mutex // held by do

	mu       sync.Mutex // guards what follows
	modules  map[kernels.Spec]*module
	norms    map[*kernels.Program]*normModule
	memories map[*memory]bool
	queues   map[*queue]bool
	markers  map[*marker]bool
	hosts    map[*staging]bool
	graphs   map[*recording]bool
}

// do runs f, which calls the driver, on one thread with the device's context current. One f runs at a time, so it must not wait for
// the device: see wait. Afterwards the thread has the context that it had before. That is the caller's own, if the caller uses
// CUDA too. Mostly it is none; then a call outside do fails every time, and not only on some threads.
func (g *gpu) do(f func() error) error {
	g.calls.Lock()
	defer g.calls.Unlock()
	return g.in(f)
}

// wait is do for calls that wait for the device, which others must not wait for.
func (g *gpu) wait(f func() error) error {
	return beside(func() error { return g.in(f) })
}

// make is do for calls that make or free something, or ask how far it is.
func (g *gpu) make(f func() error) error {
	return g.do(func() error { return beside(f) })
}

// beside runs f, which CUDA calls potentially unsafe while somebody captures a stream, on this thread or, unless he says otherwise, on any: there it would fail, and
// the capture, too. It may be the garbage collector that frees, or a step within a framework's own capture that has tables made. All that f must not do
// is to wait for a stream that is being captured.
func beside(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if before, err := driver.ThreadExchangeCaptureMode(driver.CaptureRelaxed); err == nil { // any error is another call's, which f meets, too
		defer func() { _, _ = driver.ThreadExchangeCaptureMode(before) }()
	}
	return f()
}

// in runs f on one thread with the device's context current.
func (g *gpu) in(f func() error) error {
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
	for r := range g.graphs {
		keep(r.destroy())
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
	for _, m := range g.norms {
		keep(m.unload(g))
	}
	clear(g.queues)
	clear(g.markers)
	clear(g.memories)
	clear(g.hosts)
	clear(g.graphs)
	clear(g.modules)
	clear(g.norms)
	keep(failure(driver.CuDevicePrimaryCtxRelease, g.dev.ReleasePrimaryCtx()))
	return first
}
