package cpu

import (
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// tileBytes is what the interpreter works on at a time. A rule has ten or so tiles alive at once, which must stay in a
// first-level cache of 32 KiB.
const tileBytes = 2 << 10

// plan is a graph as a list of operations over tiles, for programs without a loop of their own: rare combinations of options,
// and rules of a user's own.
type plan struct {
	steps   []tileStep
	stores  []tileStore
	buffers int // tiles alive at once
}

type tileStep struct {
	loop operationLoop
	dst  int // buffer
	args [3]tileArg
}

// tileArg is where an operand is: a slot, a uniform or a buffer.
type tileArg struct {
	kind  uint8
	index int // of the slots used; bytes into the uniforms; buffer
}

const (
	inSlot = iota
	inUniforms
	inBuffer
)

type tileStore struct{ to, from tileArg }

// newPlan orders the graph's operations and gives each a buffer, which is free again after its last use.
func newPlan(f *ir.Func, used []int, uniforms []ir.Value) *plan {
	p := &plan{}
	varying := f.Varying(rule.ElemBank)
	last := make([]int, len(f.Nodes)) // the last node that uses each
	for i := range f.Nodes {
		for _, a := range f.Nodes[i].Args() {
			last[a] = i
		}
	}
	for _, s := range f.Stores {
		last[s.Value] = len(f.Nodes)
	}
	buffer := make([]int, len(f.Nodes))
	var free []int
	arg := func(v ir.Value) tileArg {
		if !varying[v] {
			return tileArg{inUniforms, maskBytes + slices.Index(uniforms, v)*vectorBytes}
		}
		if n := f.Nodes[v]; n.Op == ir.Var {
			return tileArg{inSlot, slices.Index(used, n.Index)}
		}
		return tileArg{inBuffer, buffer[v]}
	}
	for i, n := range f.Nodes {
		if !varying[i] || n.Op == ir.Var {
			continue
		}
		s := tileStep{loop: avx2Operations[f.Width][n.Op]}
		for k, a := range n.Args() {
			s.args[k] = arg(a)
		}
		for k, a := range n.Args() {
			operation := varying[a] && f.Nodes[a].Op != ir.Var
			if operation && last[a] == i && !slices.Contains(n.Args()[:k], a) {
				free = append(free, buffer[a]) // a loop reads each vector before it writes it: dst may be an operand
			}
		}
		if len(free) == 0 {
			free = append(free, p.buffers)
			p.buffers++
		}
		s.dst = free[len(free)-1]
		free = free[:len(free)-1]
		buffer[i] = s.dst
		p.steps = append(p.steps, s)
	}
	for _, s := range f.Stores {
		from := arg(s.Value)
		if from.kind == inSlot { // which may be stored to before it is read: take it aside first
			p.steps = append(p.steps, tileStep{dst: p.buffers, args: [3]tileArg{from}})
			from = tileArg{inBuffer, p.buffers}
			p.buffers++
		}
		p.stores = append(p.stores, tileStore{tileArg{inSlot, slices.Index(used, s.Var)}, from})
	}
	return p
}

// run runs the plan over n bytes of the slots that it uses, whose addresses are in order.
func (p *plan) run(pointers []*byte, uniforms *byte, tiles []byte, n int) {
	for lo := 0; lo < n; lo += tileBytes {
		size := min(tileBytes, n-lo)
		at := func(a tileArg) (*byte, int) {
			switch a.kind {
			case inSlot:
				return (*byte)(unsafe.Add(unsafe.Pointer(pointers[a.index]), lo)), vectorBytes
			case inUniforms:
				return (*byte)(unsafe.Add(unsafe.Pointer(uniforms), a.index)), 0
			default:
				return &tiles[a.index*tileBytes], vectorBytes
			}
		}
		for i := range p.steps {
			s := &p.steps[i]
			dst := &tiles[s.dst*tileBytes]
			a, stepA := at(s.args[0])
			if s.loop == nil {
				copy(unsafe.Slice(dst, size), unsafe.Slice(a, size))
				continue
			}
			b, stepB := at(s.args[1])
			c, stepC := at(s.args[2])
			s.loop(dst, a, b, c, stepA, stepB, stepC, size)
		}
		for _, s := range p.stores {
			to, _ := at(s.to)
			from, step := at(s.from)
			dst := unsafe.Slice(to, size)
			if step > 0 {
				copy(dst, unsafe.Slice(from, size))
				continue
			}
			for off := 0; off < size; off += vectorBytes {
				copy(dst[off:], unsafe.Slice(from, vectorBytes))
			}
		}
	}
}
