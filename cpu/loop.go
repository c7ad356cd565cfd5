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
}

// prefetching is how a loop prefetches each slot: none on processors whose own prefetching is better alone.
type prefetching struct {
	near int // bytes ahead, into the first-level cache; 0: not
	far  int // into the second-level cache
}

// Prefetching for works that stay in a cache, and for those that come from memory: there a core can wait for more lines in its
// second-level cache than in the first. In short tensors, what lies far ahead is often another one's, or nobody's.
var (
	inCache    = prefetching{near: 3 << 10}
	fromMemory = prefetching{near: 2 << 10, far: 3 << 10}
	shortOnes  = prefetching{near: 1 << 10, far: 2 << 10}
)

// cacheBytes is the bytes up to which a work counts as in cache. In a third-level cache both ways are within 2 % of each other; in the
// second, prefetching into it costs up to a quarter. shortBytes is the bytes of a slot up to which tensors count as short.
const (
	cacheBytes = 32 << 20
	shortBytes = 16 << 10
)

// prefetching is that for so many elements of a program in so many tensors.
func (d *driver) prefetching(elements, tensors int, p *kernels.Program) prefetching {
	size := 0 // of an element, in all planes
	for _, plane := range p.Planes {
		size += plane.DType.Size()
	}
	switch {
	case d.prefetch == 0:
		return prefetching{}
	case elements*size <= cacheBytes:
		return inCache
	case elements*size <= tensors*shortBytes*len(p.Planes):
		return shortOnes
	}
	return fromMemory
}

// emitLoop makes a program's machine code.
func emitLoop(set *emit.Set, p *kernels.Program, ahead prefetching) (*emit.Code, error) {
	l := emit.Loop{Func: p.Graph, Uniforms: p.Uniforms, Varying: p.Varying, Set: set, Near: ahead.near, Far: ahead.far}
	for k := range p.Planes {
		l.Slots = append(l.Slots, k)
	}
	return emit.Compile(l)
}

// loopKey is what a loop depends on, for one instruction set.
type loopKey struct {
	graph string // its fingerprint
	ahead prefetching
}

// machineCode is the loop of a program, from the device's or new.
func (d *driver) machineCode(p *kernels.Program, ahead prefetching) (*loop, error) {
	key := loopKey{p.Graph.Fingerprint(), ahead}
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.code[key].Value(); l != nil {
		return l, nil
	}
	c, err := emitLoop(d.choice.loops, p, ahead)
	if err != nil {
		return nil, err
	}
	code, err := exec.New(c.Text)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(d.code, func(_ loopKey, l weak.Pointer[loop]) bool { return l.Value() == nil })
	l := &loop{code, c.Frame, c.Index}
	d.code[key] = weak.Make(l)
	return l, nil
}

// newFrame is the memory that a thread lends the loop.
func (l *loop) newFrame() []byte {
	f := aligned(make([]byte, l.frame+cacheLine), l.frame, cacheLine)
	emit.FillFrame(f)
	return f
}

// run runs the loop over n elements, whose planes' addresses are in order. The first has the index within its tensor.
func (l *loop) run(slots []*byte, uniforms *byte, frame []byte, index, n int) {
	if l.index >= 0 {
		binary.LittleEndian.PutUint64(frame[l.index:], uint64(index))
	}
	l.code.Run(unsafe.SliceData(slots), uniforms, unsafe.SliceData(frame), n)
}

// Listing is the machine code of a program as text: where each instruction is, its bytes, the instruction in Intel's syntax, and the
// name that the rule gives its result. It is the code for tensors that no cache holds; for others it prefetches differently. Listing
// fails with device.ErrUnsupported where the implementation makes no machine code.
func (d *Device) Listing(p *kernels.Program) (string, error) {
	c := d.driver.choice
	if c.err != nil {
		return "", c.err
	}
	if c.loops == nil {
		return "", fmt.Errorf("cpu: %s: %s makes no machine code: %w", p, c.name, device.ErrUnsupported)
	}
	code, err := emitLoop(c.loops, p, d.driver.prefetching(math.MaxInt32, 1, p))
	if err != nil {
		return "", err
	}
	return code.Listing()
}
