package cpu

import (
	"fmt"
	"unsafe"
	"weak"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// loop is a program's machine code, which is made when the program is compiled and shared by all of a device's updates that
// compute the same. Its memory is given back once no update has it.
type loop struct {
	code  *exec.Code
	frame int // bytes that each thread lends it
}

// prefetchAhead is the bytes that loops prefetch ahead of each slot, where that makes them faster.
const prefetchAhead = 2 << 10

// emitLoop makes the machine code of a graph.
func emitLoop(set *emit.Set, f *ir.Func, used []int, prefetch int) (*emit.Code, error) {
	l := emit.Loop{Func: f, Uniforms: f.Uniforms(rule.ElemBank), Varying: f.Varying(rule.ElemBank), Set: set, Ahead: prefetch * prefetchAhead}
	for _, v := range used {
		l.Slots = append(l.Slots, emit.Slot{Var: v, Size: f.Width / 8})
	}
	return emit.Compile(l)
}

// machineCode is the loop of a graph, from the device's or new.
func (d *driver) machineCode(f *ir.Func, used []int) (*loop, error) {
	print := f.Fingerprint()
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.code[print].Value(); l != nil {
		return l, nil
	}
	c, err := emitLoop(d.choice.loops, f, used, d.prefetch)
	if err != nil {
		return nil, err
	}
	code, err := exec.New(c.Text)
	if err != nil {
		return nil, err
	}
	l := &loop{code, c.Frame}
	d.code[print] = weak.Make(l)
	return l, nil
}

// newFrame is the memory that a thread lends the loop.
func (l *loop) newFrame() []byte {
	f := aligned(make([]byte, l.frame+cacheLine), l.frame, cacheLine)
	emit.FillFrame(f)
	return f
}

// run runs the loop over n elements of the slots that it uses, whose addresses are in order.
func (l *loop) run(slots []*byte, uniforms *byte, frame []byte, n int) {
	l.code.Run(&slots[0], uniforms, unsafe.SliceData(frame), n)
}

// Listing is the machine code that the device's steps of a program run, as text: where each instruction is, its bytes, the instruction
// in Intel's syntax, and the name that the rule gives its result. It fails with device.ErrUnsupported where the implementation makes no
// machine code.
func (d *Device) Listing(p kernels.Program) (string, error) {
	c := d.driver.choice
	if c.err != nil {
		return "", c.err
	}
	if c.loops == nil {
		return "", fmt.Errorf("cpu: %s: %s makes no machine code: %w", p, c.name, device.ErrUnsupported)
	}
	f, err := p.Graph()
	if err != nil {
		return "", err
	}
	used, err := p.Used()
	if err != nil {
		return "", err
	}
	code, err := emitLoop(c.loops, f, used, d.driver.prefetch)
	if err != nil {
		return "", err
	}
	return code.Listing()
}
