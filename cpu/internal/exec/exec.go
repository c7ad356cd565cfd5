// Package exec runs machine code that the program made. Memory with code in it is never writable and executable at the same time.
// Each piece of code has pages of its own: to share one, it would have to become writable while other code in it runs.
package exec

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Code is machine code in executable memory. The memory is given back when the Code is unreachable, so never while it runs.
type Code struct {
	memory []byte // whole pages
}

// held is the bytes of memory that Codes have.
var held atomic.Int64

// Held is the bytes of memory that all Codes of the process have.
func Held() int64 { return held.Load() }

// New copies machine code into executable memory, at a multiple of a page's size. The code is a loop: see Run.
func New(text []byte) (*Code, error) {
	m, err := newMemory(text)
	if err != nil {
		return nil, err
	}
	c := &Code{m}
	held.Add(int64(len(m)))
	runtime.AddCleanup(c, func(m []byte) {
		held.Add(-int64(len(m)))
		if err := unmapMemory(m); err != nil {
			panic(fmt.Errorf("exec: %w", err)) // what was mapped can be unmapped
		}
	}, m)
	return c, nil
}

func newMemory(text []byte) ([]byte, error) {
	m, err := mapMemory(len(text))
	if err != nil {
		return nil, fmt.Errorf("exec: map memory: %w", err)
	}
	copy(m, text)
	if err := seal(m); err != nil {
		_ = unmapMemory(m)
		return nil, fmt.Errorf("exec: make memory executable: %w", err)
	}
	return m, nil
}

// Run runs the code, which finds planes in DI, uniforms in SI, frame in DX and n in CX. It leaves SP, BP and R14 as they are, needs no
// stack, and ends in VZEROUPPER and RET. While it runs, the goroutine cannot be preempted.
func (c *Code) Run(planes **byte, uniforms, frame *byte, n int) {
	call(&c.memory[0], planes, uniforms, frame, n)
	runtime.KeepAlive(c)
}

// Available returns nil if the process may run code that it made, and otherwise why not: the system's policy, or a build without
// machine code. It tries once, with a piece of code that returns.
var Available = sync.OnceValue(func() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("exec: run code: %v", r)
		}
	}()
	m, err := newMemory([]byte{0xC3}) // RET
	if err != nil {
		return err
	}
	call(&m[0], nil, nil, nil, 0)
	return unmapMemory(m)
})
