package cpu

import (
	"fmt"
	"maps"
	"math"
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

// emitLoop makes the machine code of a graph.
func emitLoop(set *emit.Set, f *ir.Func, used []int, ahead prefetching) (*emit.Code, error) {
	return emit.Compile(emit.Loop{Func: f, Slots: used, Uniforms: f.Uniforms(rule.ElemBank), Varying: f.Varying(rule.ElemBank), Set: set,
		Near: ahead.near, Far: ahead.far})
}

// loopKey is what a loop depends on, for one instruction set.
type loopKey struct {
	graph string // its fingerprint
	sum   bool   // of the graph's term
	ahead prefetching
}

// machineCode is the loop of a graph, from the device's or new.
func (d *driver) machineCode(f *ir.Func, used []int, ahead prefetching) (*loop, error) {
	return d.shared(loopKey{f.Fingerprint(), false, ahead}, func() (*emit.Code, error) { return emitLoop(d.choice.loops, f, used, ahead) })
}

// shared is the loop of a key, from the device's or what compile makes.
func (d *driver) shared(key loopKey, compile func() (*emit.Code, error)) (*loop, error) {
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
	l := &loop{code, c.Frame}
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

// run runs the loop over n elements of the slots that it uses, whose addresses are in order.
func (l *loop) run(slots []*byte, uniforms *byte, frame []byte, n int) {
	l.code.Run(unsafe.SliceData(slots), uniforms, unsafe.SliceData(frame), n)
}

// Listing is the machine code of a program as text: where each instruction is, its bytes, the instruction in Intel's syntax, and the
// name that the rule gives its result. It is the code for tensors that no cache holds; for others it prefetches differently. Listing
// fails with device.ErrUnsupported where the implementation makes no machine code.
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
	code, err := emitLoop(c.loops, f, used, d.driver.prefetching(math.MaxInt32, 1, 1, 1))
	if err != nil {
		return "", err
	}
	return code.Listing()
}
