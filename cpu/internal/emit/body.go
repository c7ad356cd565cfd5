package emit

import (
	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// body writes the operations on one vector of each slot, and decides what is in which register meanwhile.
type body struct {
	*compiler
	at     int       // bytes between the element at index and the vector
	mask   int       // of the tail: the register that says which elements there are; of whole vectors -1
	files  [2]file   // registers, by class
	in     []int     // of a value: its register, or -1
	spill  []int     // of a value: where it is in the frame, or -1
	next   []int     // of a value: how many of its uses are over
	stored []bool    // of a slot: its memory has the new value
	free   []int     // places in the frame
	freed  []int     // the current step may still read these
	top    int       // of the frame
	pinned [2]uint32 // registers that the current step needs, by class
}

// file is the registers of a class.
type file struct {
	holds []value // or one of these
	peak  int     // most registers that were in use at a time
}

const (
	empty = value(-1)
	taken = value(-2) // for good
)

// newBody starts a body; masked is that of the tail.
func (c *compiler) newBody(masked bool) *body {
	b := &body{compiler: c, mask: -1, stored: make([]bool, len(c.Slots)), top: c.constants}
	n := len(c.uses)
	all := make([]int, 3*n)
	b.in, b.spill, b.next = all[:n], all[n:2*n], all[2*n:]
	for v := range n {
		b.in[v], b.spill[v] = -1, -1
	}
	b.files[vectors].holds = make([]value, c.Set.number)
	b.files[masks].holds = make([]value, 8)
	for class := range b.files {
		holds := b.files[class].holds
		for r := range holds {
			holds[r] = empty
		}
		for i, v := range c.kept[class] {
			r := c.register(class, i)
			holds[r], b.in[v] = taken, r
		}
	}
	b.files[masks].holds[0] = taken
	if masked {
		class := vectors
		if c.Set.wide {
			class = masks
		}
		b.mask = c.register(class, len(c.kept[class]))
		b.files[class].holds[b.mask] = taken
	}
	return b
}

// run writes the body, for the vector that begins some elements after index.
func (b *body) run(elements int) {
	b.at = elements * b.size
	for p := range b.steps {
		s := &b.steps[p]
		b.pinned = [2]uint32{}
		b.free, b.freed = append(b.free, b.freed...), b.freed[:0]
		switch {
		case s.op == store:
			b.store(s)
		case b.class(s.dst) == masks:
			b.maskStep(s)
		default:
			b.vectorStep(s)
		}
	}
}

// left is how many uses of a value are still to come, the current step's included.
func (b *body) left(v value) int { return len(b.uses[v]) - b.next[v] }

// over counts the step's uses of its operands as over, and frees the registers of those that have no more. The instruction may
// write them then: it reads first.
func (b *body) over(s *step) {
	for _, a := range s.args {
		b.next[a]++
	}
	for _, a := range s.args {
		if b.left(a) > 0 {
			continue
		}
		class := b.class(a)
		if r := b.in[a]; r >= 0 && b.files[class].holds[r] == a {
			b.files[class].holds[r], b.in[a] = empty, -1
		}
		if b.spill[a] >= 0 {
			b.freed = append(b.freed, b.spill[a])
			b.spill[a] = -1
		}
	}
}

// take is a register for a value. If all are in use, the value that is needed again last gives way.
func (b *body) take(class int, v value) int {
	f := &b.files[class]
	idle, victim, far, used := -1, -1, -1, 0
	for r, h := range f.holds {
		switch {
		case h == taken:
		case h == empty && idle < 0:
			idle = r
		case h != empty:
			used++
			if b.pinned[class]>>r&1 == 0 && b.uses[h][b.next[h]] > far {
				victim, far = r, b.uses[h][b.next[h]]
			}
		}
	}
	r := idle
	if idle < 0 {
		r = victim
		b.evict(class, r, f.holds[r])
	} else {
		used++
	}
	f.peak = max(f.peak, used)
	f.holds[r], b.in[v] = v, r
	b.pin(class, r)
	return r
}

func (b *body) pin(class, r int) { b.pinned[class] |= 1 << r }

// evict takes a value from its register. It goes to the frame, unless it is in memory anyway.
func (b *body) evict(class, r int, v value) {
	b.in[v] = -1
	if b.inMemory(v) {
		return
	}
	if n := len(b.free); n > 0 {
		b.spill[v], b.free = b.free[n-1], b.free[:n-1]
	} else {
		b.spill[v] = b.top
		b.top += b.Set.vector
		b.frameSize = max(b.frameSize, b.top)
	}
	if class == masks {
		b.maskIns(x86.KSTOREW, b.names[v], x86.Mem(frame, b.spill[v]), x86.K(r))
	} else {
		b.vector(x86.VSTOREUPS, b.names[v], x86.Mem(frame, b.spill[v]), x86.V(r))
	}
}

// inMemory says whether a value can be loaded.
func (b *body) inMemory(v value) bool {
	return b.inBits[v] >= 0 || b.spill[v] >= 0 || b.inSlot(v)
}

// inSlot says whether a value is a slot's, which has not been stored to.
func (b *body) inSlot(v value) bool {
	return int(v) < len(b.slotOf) && b.slotOf[v] >= 0 && !b.stored[b.slotOf[v]]
}

// register is the register of a value, which is loaded if it is in none.
func (b *body) register(v value) int {
	class := b.class(v)
	r := b.in[v]
	if r >= 0 {
		b.pin(class, r)
		return r
	}
	r = b.take(class, v)
	name := b.names[v]
	switch {
	case class == masks && b.spill[v] >= 0:
		b.maskIns(x86.KLOADW, name, x86.K(r), x86.Mem(frame, b.spill[v]))
	case class == masks:
		b.maskIns(x86.KLOADW, name, x86.K(r), x86.Mem(block, b.inBits[v]*b.size))
	case b.spill[v] >= 0:
		b.vector(x86.VMOVUPS, name, x86.V(r), x86.Mem(frame, b.spill[v]))
	case b.inBits[v] >= 0 && b.Set.wide:
		b.broadcast(r, v)
	case b.inBits[v] >= 0:
		b.vector(x86.VMOVUPS, name, x86.V(r), x86.Mem(frame, b.copyAt[v]))
	case b.mask < 0:
		b.vector(x86.VMOVUPS, name, x86.V(r), b.slot(b.slotOf[v], b.at))
	case b.Set.wide:
		m := b.slot(b.slotOf[v], b.at)
		b.add(x86.Ins{Op: b.ofSize(x86.VMOVUPS), Size: b.Set.vector, Mask: b.mask, Zero: true, Args: [4]x86.Arg{x86.V(r), m}, Note: name})
	default:
		b.vector(x86.VMASKMOVPS, name, x86.V(r), x86.V(b.mask), b.slot(b.slotOf[v], b.at))
	}
	return r
}

// operand is a vector for an instruction's last source, which may be memory: what is needed once more, or the same for all.
func (b *body) operand(v value) x86.Arg {
	switch {
	case b.in[v] >= 0:
	case b.inBits[v] >= 0 && b.Set.wide:
		return x86.Mem(block, b.inBits[v]*b.size).Each()
	case b.inBits[v] >= 0:
		return x86.Mem(frame, b.copyAt[v])
	case b.left(v) > 1:
	case b.spill[v] >= 0:
		return x86.Mem(frame, b.spill[v])
	case b.mask < 0 && b.inSlot(v):
		return b.slot(b.slotOf[v], b.at)
	}
	return x86.V(b.register(v))
}

// store writes a value to a slot. If the slot's old value is still needed, that goes to a register first.
func (b *body) store(s *step) {
	v := s.args[0]
	r := b.register(v)
	if old := b.varOf[s.slot]; old >= 0 && old != v && b.left(old) > 0 {
		b.register(old)
	}
	b.stored[s.slot] = true
	to := b.slot(s.slot, b.at)
	note := b.Func.Vars[b.Slots[s.slot].Var].Name + " ="
	switch {
	case b.mask < 0:
		b.vector(x86.VSTOREUPS, note, to, x86.V(r))
	case b.Set.wide:
		b.masked(x86.VSTOREUPS, b.mask, note, to, x86.V(r))
	default:
		b.vector(x86.VMASKSTOREPS, note, to, x86.V(b.mask), x86.V(r))
	}
	b.over(s)
}

// operations are those of two numbers, and of two truth values with AVX2, whose masks are vectors.
var operations = map[ir.Op]x86.Op{ir.Add: x86.VADDPS, ir.Sub: x86.VSUBPS, ir.Mul: x86.VMULPS, ir.Div: x86.VDIVPS,
	ir.Neg: x86.VXORPS, ir.Abs: x86.VANDPS, ir.And: x86.VANDPS, ir.Or: x86.VORPS, ir.Not: x86.VXORPS}

// Predicates of comparisons that raise no exception, all false for NaN but ne, and those with the operands swapped.
var (
	predicates = map[ir.Op]int{ir.Lt: 0x11, ir.Le: 0x12, ir.Eq: 0x00, ir.Ne: 0x04}
	reversed   = map[ir.Op]int{ir.Lt: 0x1E, ir.Le: 0x1D, ir.Eq: 0x00, ir.Ne: 0x04}
)

// vectorStep writes an operation whose result is in a vector register.
func (b *body) vectorStep(s *step) {
	name := b.names[s.dst]
	switch s.op {
	case ir.Sqrt:
		a := b.operand(s.args[0])
		b.over(s)
		b.vector(x86.VSQRTPS, name, x86.V(b.take(vectors, s.dst)), a)
	case ir.Select, orZero:
		b.choose(s)
	case ir.Lt, ir.Le, ir.Eq, ir.Ne:
		x, y, predicate := b.compared(s)
		b.over(s)
		b.vector(x86.VCMPPS, name, x86.V(b.take(vectors, s.dst)), x, y, predicate)
	default:
		x, y := s.args[0], s.args[1]
		if s.op != ir.Sub && s.op != ir.Div && b.better(y, x) {
			x, y = y, x // of two NaNs, another one comes out
		}
		first, second := x86.V(b.register(x)), b.operand(y)
		b.over(s)
		b.vector(operations[s.op], name, x86.V(b.take(vectors, s.dst)), first, second)
	}
}

// better says whether it is better to have x in a register than y.
func (b *body) better(x, y value) bool {
	if (b.in[x] >= 0) != (b.in[y] >= 0) {
		return b.in[x] >= 0
	}
	return b.in[x] < 0 && b.left(x) > 1 && b.inBits[x] < 0 && (b.left(y) <= 1 || b.inBits[y] >= 0)
}

// compared is the operands of a comparison.
func (b *body) compared(s *step) (x, y, predicate x86.Arg) {
	first, second, p := s.args[0], s.args[1], predicates[s.op]
	if b.better(second, first) {
		first, second, p = second, first, reversed[s.op]
	}
	x = x86.V(b.register(first))
	return x, b.operand(second), x86.Imm(p)
}

// choose writes a Select of vectors.
func (b *body) choose(s *step) {
	name := b.names[s.dst]
	if s.op == orZero {
		c := x86.V(b.register(s.args[1]))
		n := b.operand(s.args[0])
		b.over(s)
		b.vector(x86.VANDNPS, name, x86.V(b.take(vectors, s.dst)), c, n)
		return
	}
	yes, no, cond := s.args[0], s.args[1], s.args[2]
	if b.Set.wide {
		k, n := b.register(cond), x86.V(b.register(no))
		y := b.operand(yes)
		b.over(s)
		b.masked(x86.VBLENDMPS, k, name, x86.V(b.take(vectors, s.dst)), n, y)
		return
	}
	c, n := x86.V(b.register(cond)), x86.V(b.register(no))
	y := b.operand(yes)
	b.over(s)
	b.vector(x86.VBLENDVPS, name, x86.V(b.take(vectors, s.dst)), n, y, c)
}

// maskStep writes an operation whose result is in a mask register.
func (b *body) maskStep(s *step) {
	name := b.names[s.dst]
	switch s.op {
	case ir.Lt, ir.Le, ir.Eq, ir.Ne:
		x, y, predicate := b.compared(s)
		b.over(s)
		b.vector(x86.VCMPPS, name, x86.K(b.take(masks, s.dst)), x, y, predicate)
	case ir.Not:
		x := x86.K(b.register(s.args[0]))
		b.over(s)
		b.maskIns(x86.KNOTW, name, x86.K(b.take(masks, s.dst)), x)
	case ir.Select:
		yes, no, cond := x86.K(b.register(s.args[0])), x86.K(b.register(s.args[1])), x86.K(b.register(s.args[2]))
		between := b.take(masks, s.dst)
		dst := x86.K(b.take(masks, s.dst))
		b.maskIns(x86.KANDNW, name, x86.K(between), cond, no)
		b.maskIns(x86.KANDW, name, dst, cond, yes)
		b.maskIns(x86.KORW, name, dst, dst, x86.K(between))
		b.files[masks].holds[between] = empty
		b.over(s)
	default:
		op := x86.KANDW
		if s.op == ir.Or {
			op = x86.KORW
		}
		x, y := x86.K(b.register(s.args[0])), x86.K(b.register(s.args[1]))
		b.over(s)
		b.maskIns(op, name, x86.K(b.take(masks, s.dst)), x, y)
	}
}
