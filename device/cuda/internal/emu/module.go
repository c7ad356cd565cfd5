//go:build cuda && cgo && linux

package emu

import (
	"bytes"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
)

// module is a loaded text.
type module struct {
	ctx       *context
	text      *ptxvm.Module
	functions map[string]uint64 // handles of those that were asked for
}

// function is one of its kernels.
type function struct {
	ctx    *context
	kernel *ptxvm.Kernel
	shared uint64 // the dynamic shared memory that a launch may have
}

func (m *module) context() *context   { return m.ctx }
func (f *function) context() *context { return f.ctx }

// moduleLoad takes PTX, and nothing else. With options, errors go to their log.
func (c *context) moduleLoad(args []uint64) driver.Result {
	if args[0] == 0 || args[1] == 0 {
		return driver.ErrorInvalidValue
	}
	text, err := parsed.load(unix.BytePtrToString(driver.Pointer[byte](args[1])))
	if err != nil {
		if len(args) > 2 {
			writeLog(args[2], args[3], args[4], err.Error())
		}
		return driver.ErrorInvalidPtx
	}
	return answer(args[0], c.add(&module{ctx: c, text: text, functions: map[string]uint64{}}))
}

// parsed are the last texts that were loaded: many devices, opened one after the other, load the same kernels of norms.
var parsed texts

type texts struct {
	mu   sync.Mutex
	last [8]struct {
		text   string
		module *ptxvm.Module
	}
	next int // the oldest
}

func (t *texts) load(text string) (*ptxvm.Module, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.last {
		if x.module != nil && x.text == text {
			return x.module, nil
		}
	}
	m, err := ptxvm.Load(text)
	if err == nil {
		t.last[t.next].text, t.last[t.next].module = text, m
		t.next = (t.next + 1) % len(t.last)
	}
	return m, err
}

// writeLog writes to the error log among n options, if there is one, as much as it has room for, and then how much that is.
func writeLog(n, options, values uint64, log string) {
	const errorLog, errorLogBytes = 5, 6 // CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES
	var buffer, size *uint64
	if n > 0 {
		names := unsafe.Slice(driver.Pointer[uint32](options), n)
		words := unsafe.Slice(driver.Pointer[uint64](values), n)
		for i, name := range names {
			switch name {
			case errorLog:
				buffer = &words[i]
			case errorLogBytes:
				size = &words[i]
			}
		}
	}
	if buffer == nil || size == nil || *buffer == 0 || uint32(*size) == 0 {
		return
	}
	to := unsafe.Slice(driver.Pointer[byte](*buffer), uint32(*size))
	end := copy(to[:len(to)-1], log)
	to[end] = 0
	*size = uint64(end)
}

func (c *context) moduleUnload(args []uint64) driver.Result {
	m, result := find[*module](c, args[0])
	if result != driver.Success {
		return result
	}
	for _, handle := range m.functions {
		delete(c.d.objects, handle)
	}
	delete(c.d.objects, args[0])
	return driver.Success
}

func (c *context) moduleFunction(args []uint64) driver.Result {
	m, result := find[*module](c, args[1])
	switch {
	case result != driver.Success:
		return result
	case args[0] == 0 || args[2] == 0:
		return driver.ErrorInvalidValue
	}
	name := unix.BytePtrToString(driver.Pointer[byte](args[2]))
	if m.functions[name] == 0 {
		k := m.text.Kernel(name)
		if k == nil {
			return driver.ErrorNotFound
		}
		m.functions[name] = c.add(&function{ctx: c, kernel: k, shared: 48<<10 - min(k.SharedBytes(), 48<<10)})
	}
	return answer(args[0], m.functions[name])
}

// Attributes of functions, by the numbers of CUfunction_attribute.
const (
	maxThreadsPerBlock = 0
	sharedSizeBytes    = 1
	numRegs            = 4
	maxDynamicShared   = 8
	sharedCarveout     = 9
)

// functionAttribute answers 0 for what the emulation lacks.
func (c *context) functionAttribute(args []uint64) driver.Result {
	f, result := find[*function](c, args[2])
	if result != driver.Success {
		return result
	}
	return answer(args[0], int32(map[uint64]uint64{maxThreadsPerBlock: f.kernel.MaxThreads(), sharedSizeBytes: f.kernel.SharedBytes(),
		numRegs: min(uint64(f.kernel.Registers()), 255), maxDynamicShared: f.shared}[args[1]]))
}

func (c *context) setFunctionAttribute(args []uint64) driver.Result {
	f, result := find[*function](c, args[0])
	switch {
	case result != driver.Success:
		return result
	case args[1] == maxDynamicShared && args[2] <= 227<<10-f.kernel.SharedBytes():
		f.shared = args[2]
		return driver.Success
	case args[1] == sharedCarveout:
		return driver.Success
	}
	return driver.ErrorInvalidValue
}

// occupancy is by threads, shared memory and the registers that the text declares, as if each had 32 bits.
func (c *context) occupancy(args []uint64) driver.Result {
	f, result := find[*function](c, args[1])
	if result != driver.Success {
		return result
	}
	threads, shared := args[2], f.kernel.SharedBytes()+args[3]
	switch {
	case threads == 0 || threads > 1024:
		return driver.ErrorInvalidValue
	case threads > f.kernel.MaxThreads():
		return answer(args[0], int32(0))
	}
	warps := (threads + 31) / 32
	registers := min((uint64(max(f.kernel.Registers(), 1))+7)/8*8, 255)
	n := min(uint64(attributes[39])/(32*warps), 32, uint64(attributes[82])/(32*warps*registers))
	if shared > 0 {
		n = min(n, uint64(attributes[81])/shared)
	}
	return answer(args[0], int32(n))
}

// launch takes the parameters at the call: function, grid, block, shared memory, stream, parameters, extra.
func (c *context) launch(args []uint64) driver.Result {
	f, result := find[*function](c, args[0])
	if result != driver.Success {
		return result
	}
	s, result := c.stream(args[8])
	if result != driver.Success {
		return result
	}
	l := ptxvm.Launch{SharedBytes: uint32(args[7]), Checks: c.d.config.Checks, Budget: c.d.config.Budget}
	if trace, name := c.d.config.Trace, f.kernel.Name(); trace != nil {
		l.Trace = func(addr, bytes uint64, write bool) { trace(name, addr, bytes, write) }
	}
	threads := uint64(1)
	for i := range 3 {
		l.Grid[i], l.Block[i] = uint32(args[1+i]), uint32(args[4+i])
		limit := [3]uint32{1024, 1024, 64}[i]
		if l.Grid[i] == 0 || l.Grid[i] > [3]uint32{1<<31 - 1, 65535, 65535}[i] || l.Block[i] == 0 || l.Block[i] > limit {
			return driver.ErrorInvalidValue
		}
		threads *= uint64(l.Block[i])
	}
	params := f.kernel.Params()
	switch {
	case threads > 1024 || args[7] > f.shared || len(params) > 0 && args[9] == 0:
		return driver.ErrorInvalidValue
	case threads > f.kernel.MaxThreads():
		return driver.ErrorLaunchOutOfResources
	case args[10] != 0: // parameters in one piece
		return driver.ErrorNotSupported
	}
	for i, at := range unsafe.Slice(driver.Pointer[uint64](args[9]), len(params)) {
		if at == 0 {
			return driver.ErrorInvalidValue
		}
		l.Params = append(l.Params, bytes.Clone(unsafe.Slice(driver.Pointer[byte](at), params[i].Size)))
	}
	return s.enqueue(operation{run: func() error {
		l := l
		if c.d.config.Seed != 0 {
			c.d.launches++
			l.Seed = c.d.config.Seed + c.d.launches
		}
		return f.kernel.Run(c.gpu.memory, l)
	}})
}
