package emit

import "github.com/fusestep/fusestep/internal/x86"

// body writes the operations on one vector of each plane, and decides what is in which register meanwhile.
type body struct {
	*compiler
	first  int         // the vector's first element, counted from the round's; of parts, the first of both
	part   part        // of the elements
	mask   int         // of the tail: the register that says which elements there are; of whole vectors -1
	alone  bool        // the vector is all that a row has, or the first or the second of two: see shortRow
	opens  bool        // it is the first of two
	opened [][]x86.Arg // of a fill: the registers with the first one's terms
	files  [2]file     // registers, by class
	in     []int       // of a value: its register, or -1
	spill  []int       // of a value: where it is in the frame, or -1
	next   []int       // of a value: how many of its uses are over
	stored []bool      // of a plane: its memory has the new value
	free   []int       // places in the frame
	freed  []int       // the current step may still read these
	top    int         // of the frame
	pinned [2]uint32   // registers that the current step needs, by class
}

// file is the registers of a class.
type file struct {
	holds []value // or one of these
	peak  int     // most registers that were in use at a time
}

const (
	empty = value(-1)
	taken = value(-2) // for good
	brief = value(-3) // until release
)

// newBody starts a body; masked is that of the tail.
func (c *compiler) newBody(masked bool) *body {
	b := &body{compiler: c, mask: -1, stored: make([]bool, len(c.Planes)), top: c.constants}
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

// run writes the body, for the vector that begins so many elements after the round's first.
func (b *body) run(elements int) {
	b.first = elements
	if b.split && b.mask < 0 {
		b.part = even + part(elements/b.lanes()%2)
		b.first -= elements % (2 * b.lanes())
	}
	for p := range b.steps {
		s := &b.steps[p]
		b.pinned = [2]uint32{}
		b.free, b.freed = append(b.free, b.freed...), b.freed[:0]
		switch {
		case s.op == store, s.op == storeHalf, s.op == storeUpper:
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

// take is a register for a value.
func (b *body) take(class int, v value) int {
	r := b.idle(class)
	b.files[class].holds[r], b.in[v] = v, r
	return r
}

// between is a register for what is between an instruction and another of the same step. release gives it back.
func (b *body) between() x86.Arg {
	r := b.idle(vectors)
	b.files[vectors].holds[r] = brief
	return x86.V(r)
}

func (b *body) release(registers ...x86.Arg) {
	for _, r := range registers {
		b.files[vectors].holds[r.Number()] = empty
	}
}

// idle makes a register ready for use. If all are in use, the value that is needed again last gives way.
func (b *body) idle(class int) int {
	f := &b.files[class]
	idle, victim, far, used := -1, -1, -1, 0
	for r, h := range f.holds {
		switch {
		case h == taken:
		case h == brief:
			used++
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
		b.total = max(b.total, b.top)
	}
	if class == masks {
		b.maskIns(x86.KSTOREW, b.names[v], x86.Mem(frame, b.spill[v]), x86.K(r))
	} else {
		b.vector(x86.VSTOREUPS, b.names[v], x86.Mem(frame, b.spill[v]), x86.V(r))
	}
}

// inMemory says whether a value can be loaded.
func (b *body) inMemory(v value) bool {
	return b.inBlock[v] >= 0 || b.spill[v] >= 0 || b.inPlane(v)
}

// inPlane says whether a value is a plane's, which has not been stored to.
func (b *body) inPlane(v value) bool {
	return int(v) < len(b.planeOf) && b.planeOf[v] >= 0 && !b.stored[b.planeOf[v]]
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
		b.maskIns(x86.KLOADW, name, x86.K(r), x86.Mem(block, b.inBlock[v]*b.size))
	case b.spill[v] >= 0:
		b.vector(x86.VMOVUPS, name, x86.V(r), x86.Mem(frame, b.spill[v]))
	case b.inBlock[v] >= 0 && b.Set.wide:
		b.broadcast(r, v)
	case b.inBlock[v] >= 0:
		b.vector(x86.VMOVUPS, name, x86.V(r), x86.Mem(frame, b.copyAt[v]))
	default:
		b.load(r, b.planeOf[v], name)
	}
	return r
}

// operand is a vector for an instruction's last source, which may be memory: what is needed once more, or the same for all.
func (b *body) operand(v value) x86.Arg {
	switch {
	case b.in[v] >= 0:
	case b.inBlock[v] >= 0 && b.Set.wide:
		return x86.Mem(block, b.inBlock[v]*b.size).Each()
	case b.inBlock[v] >= 0:
		return x86.Mem(frame, b.copyAt[v])
	case b.left(v) > 1:
	case b.spill[v] >= 0:
		return x86.Mem(frame, b.spill[v])
	case b.mask < 0 && b.inPlane(v) && !b.narrow(b.planeOf[v]):
		return b.memory(b.planeOf[v])
	}
	return x86.V(b.register(v))
}
