//go:build cuda && cgo && linux

package emu

import (
	"golang.org/x/sys/unix"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
)

// capture is what a stream records instead of running it. Once it is invalid, nothing comes of it.
type capture struct {
	mode    uint64
	thread  int // that began it
	nodes   []func() error
	invalid bool
}

// Modes of a capture, by the numbers of CUstreamCaptureMode.
const (
	captureGlobal = iota
	captureThreadLocal
	captureRelaxed
)

// invalidate makes nothing of the capture, for a call that fails with result.
func (k *capture) invalidate(result driver.Result) driver.Result {
	k.invalid, k.nodes = true, nil
	return result
}

// record adds a node.
func (k *capture) record(run func() error) driver.Result {
	if k.invalid {
		return driver.ErrorStreamCaptureInvalidated
	}
	if run != nil {
		k.nodes = append(k.nodes, run)
	}
	return driver.Success
}

// waitCaptured is a wait for an event of a capture. A capture has one stream here: that another joins it is not emulated.
func (s *stream) waitCaptured(e *event) driver.Result {
	switch {
	case s.capture == e.capture:
		return s.capture.record(nil)
	case s.capture != nil:
		return s.capture.invalidate(e.capture.invalidate(driver.ErrorStreamCaptureMerge))
	}
	return e.capture.invalidate(driver.ErrorNotSupported)
}

// unsafeEntries are what CUDA calls potentially unsafe during a capture: they allocate, or may wait for work that will not run.
var unsafeEntries = map[driver.Entry]bool{
	driver.CuMemAlloc: true, driver.CuMemFree: true, driver.CuMemHostAlloc: true, driver.CuMemFreeHost: true,
	driver.CuMemHostRegister: true, driver.CuMemHostUnregister: true,
	driver.CuMemcpyHtoD: true, driver.CuMemcpyDtoH: true, driver.CuMemcpyDtoD: true,
	driver.CuMemsetD8: true, driver.CuMemsetD16: true, driver.CuMemsetD32: true,
	driver.CuModuleLoadData: true, driver.CuModuleLoadDataEx: true, driver.CuModuleUnload: true,
	driver.CuStreamQuery: true, driver.CuStreamSynchronize: true, driver.CuEventQuery: true, driver.CuEventSynchronize: true,
}

// allows says whether the captures that are going on let this thread call an entry. If not, they come to nothing.
func (c *context) allows(e driver.Entry) driver.Result {
	result, thread := driver.Success, unix.Gettid()
	for _, s := range c.streams {
		k := s.capture
		switch {
		case k == nil:
		case e == driver.CuCtxSynchronize,
			unsafeEntries[e] && k.refuses(thread, c.d.modes[thread]):
			result = k.invalidate(driver.ErrorStreamCaptureUnsupported)
		}
	}
	return result
}

// refuses says whether the capture refuses unsafe calls of a thread, which has a mode, too.
func (k *capture) refuses(thread int, mode uint64) bool {
	switch {
	case mode == captureRelaxed || k.mode == captureRelaxed:
		return false
	case k.thread == thread:
		return true
	}
	return mode == captureGlobal && k.mode == captureGlobal
}

// exchangeMode gives the thread a mode, and tells the one that it had.
func (d *Driver) exchangeMode(args []uint64) driver.Result {
	if args[0] == 0 {
		return driver.ErrorInvalidValue
	}
	mode, thread := driver.Pointer[uint32](args[0]), unix.Gettid()
	if *mode > captureRelaxed {
		return driver.ErrorInvalidValue
	}
	d.modes[thread], *mode = uint64(*mode), uint32(d.modes[thread])
	return driver.Success
}

// captureBegin takes a stream and a mode.
func (c *context) captureBegin(args []uint64) driver.Result {
	s, result := c.stream(args[0])
	switch {
	case result != driver.Success:
		return result
	case args[1] > captureRelaxed:
		return driver.ErrorInvalidValue
	case s == c.null:
		return driver.ErrorStreamCaptureUnsupported
	case s.capture != nil:
		return driver.ErrorIllegalState
	}
	s.capture = &capture{mode: args[1], thread: unix.Gettid()}
	return driver.Success
}

// isCapturing takes a stream and gives the state of its capture.
func (c *context) isCapturing(args []uint64) driver.Result {
	const none, active, invalidated = uint32(0), uint32(1), uint32(2)
	s, result := c.stream(args[0])
	switch {
	case result != driver.Success:
		return result
	case s.capture == nil:
		return answer(args[1], none)
	case s.capture.invalid:
		return answer(args[1], invalidated)
	}
	return answer(args[1], active)
}

// captureEnd takes a stream and gives the graph, none where the capture is invalid.
func (c *context) captureEnd(args []uint64) driver.Result {
	s, result := c.stream(args[0])
	switch {
	case result != driver.Success:
		return result
	case args[1] == 0:
		return driver.ErrorInvalidValue
	case s.capture == nil:
		return driver.ErrorIllegalState
	case s.capture.mode != captureRelaxed && s.capture.thread != unix.Gettid():
		return driver.ErrorStreamCaptureWrongThread
	}
	k := s.capture
	s.capture = nil
	if k.invalid {
		_ = answer(args[1], uint64(0))
		return driver.ErrorStreamCaptureInvalidated
	}
	return answer(args[1], c.add(&graph{ctx: c, nodes: k.nodes}))
}

// graph is what was captured.
type graph struct {
	ctx   *context
	nodes []func() error
}

// graphExec is a graph that can be launched. Its launches run one after the other, on whatever streams.
type graphExec struct {
	ctx   *context
	nodes []func() error
	last  *point // the end of the last launch, nil before the first
}

func (g *graph) context() *context     { return g.ctx }
func (x *graphExec) context() *context { return x.ctx }

func (c *context) graphDestroy(args []uint64) driver.Result {
	_, result := find[*graph](c, args[0])
	if result == driver.Success {
		delete(c.d.objects, args[0])
	}
	return result
}

// graphInstantiate gives what can be launched, of a graph, with flags.
func (c *context) graphInstantiate(args []uint64) driver.Result {
	const autoFree = 1
	g, result := find[*graph](c, args[1])
	switch {
	case result != driver.Success:
		return result
	case args[0] == 0 || args[2] > autoFree:
		return driver.ErrorInvalidValue
	}
	return answer(args[0], c.add(&graphExec{ctx: c, nodes: g.nodes}))
}

// graphLaunch runs the nodes in the order in which they were captured. On a stream that captures they become nodes of that.
func (c *context) graphLaunch(args []uint64) driver.Result {
	x, result := find[*graphExec](c, args[0])
	if result != driver.Success {
		return result
	}
	s, result := c.stream(args[1])
	if result != driver.Success {
		return result
	}
	var before []*point
	if x.last != nil {
		before = append(before, x.last)
	}
	if result := s.enqueue(operation{after: before}); result != driver.Success {
		return result
	}
	for _, run := range x.nodes {
		_ = s.enqueue(operation{run: run}) // as the one before
	}
	if s.capture == nil {
		x.last = s.end()
	}
	return driver.Success
}

// graphExecDestroy leaves launches that are enqueued.
func (c *context) graphExecDestroy(args []uint64) driver.Result {
	_, result := find[*graphExec](c, args[0])
	if result == driver.Success {
		delete(c.d.objects, args[0])
	}
	return result
}
