package cpu

import (
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// tileBytes is what the interpreter works on at a time. A rule has up to ten or so tiles alive at once, slots included, which
// must stay in a first-level cache of 32 KiB.
const tileBytes = 2 << 10

// plan is a graph as a list of operations over tiles, for where the system forbids machine code that is made at run time.
type plan struct {
	set      *instructions
	steps    []tileStep
	slots    int // used, and behind them what terms go to; the first places
	uniforms int // the next places
	buffers  int // the last places: tiles alive at once
}

// place is where a tile is: an index into a table of addresses, of slots, then uniforms, then buffers.
type place int

// operationLoop runs one operation over n bytes, a multiple of the vector. Each operand advances by its step: a vector, or 0 for one
// vector that stands for all elements. Meanwhile n bytes two tiles behind next are prefetched.
type operationLoop func(dst, a, b, c, d, next *byte, stepA, stepB, stepC, stepD, n int)

type tileStep struct {
	loop operationLoop
	dst  place
	args [4]place
	step [4]int
	next place // whose tile after the next it prefetches: a slot
}

// planner makes a plan.
type planner struct {
	*plan
	f        *ir.Func
	varying  []bool
	fields   []place    // of the fields that elements have, and those of terms
	constant []ir.Value // the uniforms
	at       []place    // of the nodes that have been computed
	free     []place
}

// newPlan orders the graph's operations and gives each a place: the slot that it is stored to, where nothing needs the slot's old
// value any more, or a buffer, which is free again after its last use. The first fields are the slots, and some others have terms.
func newPlan(set *instructions, f *ir.Func, uniforms []ir.Value, slots int, terms []int) *plan {
	p := &planner{plan: &plan{set: set, slots: slots + len(terms), uniforms: len(uniforms)}, f: f, fields: make([]place, len(f.Vars)), varying: f.Varying(rule.ElemBank),
		constant: uniforms, at: make([]place, len(f.Nodes))}
	for i := range slots {
		p.fields[i] = place(i)
	}
	for k, v := range terms {
		p.fields[v] = place(slots + k)
	}
	operations := compound(f, p.varying)
	last := make([]int, len(f.Nodes)) // the last operation that uses each
	for i, o := range operations {
		for _, a := range o.args {
			last[a] = i
		}
	}
	late := p.stores(last)
	for i, o := range operations {
		if len(o.args) == 0 {
			continue
		}
		for k, a := range o.args {
			if p.inBuffer(a) && last[a] == i && !slices.Contains(o.args[:k], a) {
				p.free = append(p.free, p.at[a]) // a loop reads each vector before it writes it: dst may be an operand
			}
		}
		if p.at[i] < 0 {
			p.at[i] = p.buffer()
		}
		p.add(o.op, p.at[i], o.args...)
	}
	for _, s := range late {
		p.add(move, p.fields[s.Var], s.Value)
	}
	for i := range p.steps { // one operation at a time, the processor would not see the next tiles coming
		p.steps[i].next = place(i * slots / len(p.steps))
	}
	return p.plan
}

// stores gives the values that may be written to their slots at once their places, and buffers to the slots' old values that are
// stored elsewhere. What it returns remains to be stored at the end. Values that have no place yet are -1.
func (p *planner) stores(last []int) (late []ir.Store) {
	old := make([]int, len(p.f.Vars)) // the last operation that reads each slot
	for i := range p.f.Nodes {
		n := &p.f.Nodes[i]
		p.at[i] = -1
		switch {
		case !p.varying[i]:
			p.at[i] = place(p.plan.slots + slices.Index(p.constant, ir.Value(i)))
		case n.Op == ir.Var:
			p.at[i] = place(n.Index)
			old[n.Index] = last[i]
		}
	}
	for _, s := range p.f.Stores {
		v := s.Value
		switch {
		case p.f.Nodes[v].Op == ir.Var && p.varying[v]: // the slot may be stored to before: take its value aside
			aside := p.buffer()
			p.add(move, aside, v)
			p.at[v] = aside
			late = append(late, s)
		case p.at[v] < 0 && old[s.Var] <= int(v):
			p.at[v] = p.fields[s.Var]
		default:
			late = append(late, s)
			last[v] = len(p.f.Nodes)
		}
	}
	return late
}

func (p *planner) inBuffer(v ir.Value) bool {
	return p.varying[v] && p.f.Nodes[v].Op != ir.Var && int(p.at[v]) >= p.plan.slots+p.plan.uniforms
}

// buffer is a free buffer.
func (p *planner) buffer() place {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	p.buffers++
	return place(p.plan.slots + p.plan.uniforms + p.buffers - 1)
}

// add adds a step.
func (p *planner) add(op tileOp, dst place, args ...ir.Value) {
	s := tileStep{loop: p.set.operations[p.f.Width][op], dst: dst}
	for k, a := range args {
		s.args[k] = p.at[a]
		if p.varying[a] {
			s.step[k] = p.set.vector
		}
	}
	p.steps = append(p.steps, s)
}

// places makes the table of addresses for one thread. Run fills in the slots.
func (p *plan) places() []*byte {
	at := make([]*byte, p.slots+p.uniforms+p.buffers)
	tiles := aligned(make([]byte, p.buffers*tileBytes+cacheLine), p.buffers*tileBytes, cacheLine)
	for i := range p.buffers {
		at[p.slots+p.uniforms+i] = &tiles[i*tileBytes]
	}
	return at
}

// run runs the plan over n bytes of the slots that it uses, whose addresses are in order.
func (p *plan) run(slots []*byte, uniforms *byte, at []*byte, n int) {
	for i := range p.uniforms {
		at[p.slots+i] = (*byte)(unsafe.Add(unsafe.Pointer(uniforms), (masks+i)*p.set.vector))
	}
	for lo := 0; lo < n; lo += tileBytes {
		size := min(tileBytes, n-lo)
		for i, slot := range slots {
			at[i] = (*byte)(unsafe.Add(unsafe.Pointer(slot), lo))
		}
		for i := range p.steps {
			s := &p.steps[i]
			s.loop(at[s.dst], at[s.args[0]], at[s.args[1]], at[s.args[2]], at[s.args[3]], at[s.next],
				s.step[0], s.step[1], s.step[2], s.step[3], size)
		}
	}
}
