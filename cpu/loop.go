package cpu

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"unsafe"
	"weak"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// loop is a program's machine code, which is made when the program is compiled and shared by all of a device's updates that
// compute the same. Its memory is given back once no update has it.
type loop struct {
	code  *exec.Code
	frame int // bytes that each thread lends it
	index int // where in them the index of a run's first element belongs; -1: nowhere
	lanes int // and those of the fills; -1: nowhere
}

// emitLoop makes a program's machine code.
func emitLoop(set *emit.Set, p *kernels.Program, ahead prefetching) (*emit.Code, error) {
	pass := &p.Passes[0]
	l := emit.Loop{Func: pass.Graph, Uniforms: pass.Uniforms, Varying: pass.Varying, Set: set, Near: ahead.near, Far: ahead.far}
	for k := range p.Planes {
		l.Planes = append(l.Planes, k)
	}
	return emit.Compile(l)
}

// loopKey is what a loop depends on, for one instruction set.
type loopKey struct {
	graph string // its fingerprint
	sum   bool   // of the graph's term
	ahead prefetching
}

// machineCode is the loop of a program, from the device's or new.
func (d *processor) machineCode(p *kernels.Program, ahead prefetching) (*loop, error) {
	return d.shared(loopKey{p.Passes[0].Graph.Fingerprint(), false, ahead}, func() (*emit.Code, error) { return emitLoop(d.choice.loops, p, ahead) })
}

// shared is the loop of a key, from the device's or what compile makes.
func (d *processor) shared(key loopKey, compile func() (*emit.Code, error)) (*loop, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.code[key].Value(); l != nil {
		return l, nil
	}
	c, err := compile()
	if err != nil {
		return nil, err
	}
	code, err := exec.New(c.Text)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(d.code, func(_ loopKey, l weak.Pointer[loop]) bool { return l.Value() == nil })
	l := &loop{code, c.Frame, c.Index, c.Lanes}
	d.code[key] = weak.Make(l)
	return l, nil
}

// newFrame is the memory that a thread lends the loop.
func (l *loop) newFrame() []byte { return newFrame(l.frame) }

// newFrame is memory for frames of so many bytes.
func newFrame(n int) []byte {
	f := aligned(make([]byte, n+cacheLine), n, cacheLine)
	emit.FillFrame(f)
	return f
}

// fill is where a run leaves the result of a fill.
func (l *loop) fill(frame []byte, k int) *float64 {
	return (*float64)(unsafe.Pointer(&frame[l.lanes+k*emit.Lanes*int(unsafe.Sizeof(float64(0)))]))
}

// run runs the loop over n elements, whose planes' addresses are in order. The first has the index.
func (l *loop) run(planes []*byte, uniforms *byte, frame []byte, index uint64, n int) {
	if l.index >= 0 {
		binary.LittleEndian.PutUint64(frame[l.index:], index)
	}
	l.code.Run(unsafe.SliceData(planes), uniforms, unsafe.SliceData(frame), n)
}

// Listing is the machine code of a program as text: where each instruction is, its bytes, the instruction in Intel's syntax, and the
// name that the rule gives its result. It is the code for tensors that no cache holds; for others it prefetches differently. Listing
// fails with device.ErrUnsupported where the implementation makes no machine code.
func (d *Device) Listing(p *kernels.Program) (string, error) {
	c := d.processor.choice
	if c.err != nil {
		return "", c.err
	}
	if c.loops == nil {
		return "", fmt.Errorf("cpu: %s: %s makes no machine code: %w", p, c.name, device.ErrUnsupported)
	}
	if err := executable(p); err != nil {
		return "", err
	}
	code, err := emitLoop(c.loops, p, d.processor.prefetching(math.MaxInt, len(p.Planes)))
	if err != nil {
		return "", err
	}
	return code.Listing()
}
