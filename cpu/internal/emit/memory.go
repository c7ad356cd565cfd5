package emit

import "github.com/fusestep/fusestep/internal/x86"

// ways are bytes of an element in memory, and of one in a register.
type ways struct{ memory, register int }

// Loads that widen, and stores of AVX-512 that narrow.
var (
	widening = map[ways]x86.Op{{1, 4}: x86.VPMOVZXBD, {1, 8}: x86.VPMOVZXBQ, {2, 4}: x86.VPMOVZXWD, {2, 8}: x86.VPMOVZXWQ,
		{4, 8}: x86.VPMOVZXDQ}
	narrowing = map[ways]x86.Op{{1, 4}: x86.VPMOVDB, {1, 8}: x86.VPMOVQB, {2, 4}: x86.VPMOVDW, {2, 8}: x86.VPMOVQW, {4, 8}: x86.VPMOVQD}
)

// narrow says whether a plane's elements are smaller than the graph's numbers.
func (c *compiler) narrow(plane int) bool { return c.sizes[plane] < c.size }

// copied says whether the body works on a copy of a plane: AVX2 has no masks for small elements.
func (b *body) copied(plane int) bool { return b.mask >= 0 && !b.Set.wide && b.narrow(plane) }

// memory is the vector of a plane.
func (b *body) memory(plane int) x86.Arg {
	if b.copied(plane) {
		return x86.Mem(frame, b.places[plane])
	}
	return b.plane(plane, b.first*b.sizes[plane])
}

// load fills a register with a plane's elements.
func (b *body) load(r, plane int, name string) {
	if b.part != row {
		b.loadPart(x86.V(r), plane, name)
		return
	}
	op, ok := widening[ways{b.sizes[plane], b.size}]
	if !ok {
		op = b.ofSize(x86.VMOVUPS)
	}
	b.read(op, x86.V(r), plane, name)
}

// read appends an operation on a plane's elements.
func (b *body) read(op x86.Op, to x86.Arg, plane int, name string) {
	switch m := b.memory(plane); {
	case b.mask < 0 || b.copied(plane):
		b.sized(op, b.Set.vector, 0, name, to, m)
	case b.Set.wide:
		b.add(x86.Ins{Op: op, Size: b.Set.vector, Mask: b.mask, Zero: true, Args: [4]x86.Arg{to, m}, Note: name})
	default:
		b.vector(x86.VMASKMOVPS, name, to, x86.V(b.mask), m)
	}
}

// unread says whether a value is only in a plane, of elements of so many bytes, and needed just once more.
func (b *body) unread(v value, size int) bool {
	return b.in[v] < 0 && b.spill[v] < 0 && b.left(v) == 1 && b.inPlane(v) && b.sizes[b.planeOf[v]] == size
}

// store writes a value to a plane. If the plane's old value is still needed, that goes to a register first.
func (b *body) store(s *step) {
	if b.isFill(s) {
		b.fill(s)
		return
	}
	v := s.args[0]
	r := x86.V(b.register(v))
	if old := b.varOf[s.plane]; old >= 0 && old != v && b.left(old) > 0 {
		b.register(old)
	}
	b.stored[s.plane] = true
	note := b.Func.Vars[b.Planes[s.plane]].Name + " ="
	if s.op == storeUpper && b.part == row {
		t := b.between()
		defer b.release(t)
		b.words(x86.VPSRLD, note, t, r, x86.Imm(16))
		r, v = t, s.dst
	}
	mask := 0
	if b.Set.wide && b.mask >= 0 {
		mask = b.mask
	}
	switch {
	case b.part != row:
		b.storePart(s, r, note)
	case s.op == storeHalf:
		b.sized(x86.VCVTPS2PH, b.Set.vector, mask, note, b.memory(s.plane), r, nearest)
	case b.narrow(s.plane) && b.Set.wide:
		b.sized(narrowing[ways{b.sizes[s.plane], b.size}], b.Set.vector, mask, note, b.memory(s.plane), r)
	case b.narrow(s.plane):
		b.storeNarrow(s.plane, v, r, note)
	case b.mask < 0 || b.Set.wide:
		b.masked(x86.VSTOREUPS, mask, note, b.memory(s.plane), r)
	default:
		b.vector(x86.VMASKSTOREPS, note, b.memory(s.plane), x86.V(b.mask), r)
	}
	b.over(s)
}

// storeNarrow is store for small elements with AVX2. Of a round's two vectors the first waits in the frame, and one store takes both.
func (b *body) storeNarrow(plane int, v value, r x86.Arg, note string) {
	t := b.between()
	size := b.sizes[plane]
	place := x86.Mem(frame, b.places[plane])
	switch pair := b.mask < 0 && b.size == 4; {
	case pair && b.first == 0:
		b.vector(x86.VSTOREUPS, note, place, b.cut(t, r, size, v))
	case pair:
		b.sized(x86.VPACKUSDW, b.Set.vector, 0, note, t, b.cut(t, r, size, v), place) // 4 of this vector, 4 of the first, and again
		if size == 2 {
			b.sized(x86.VPERMQ, b.Set.vector, 0, note, t, t, places(1, 3, 0, 2))
			b.vector(x86.VSTOREUPS, note, b.plane(plane, 0), t)
			break
		}
		b.sized(x86.VPACKUSWB, b.Set.vector, 0, note, t, t, t)
		b.sized(x86.VPERMQ, b.Set.vector, 0, note, t, t, places(0, 2, 0, 0))
		b.sized(x86.VPSHUFD, 16, 0, note, t, t, places(1, 3, 0, 2))
		b.sized(x86.VSTOREUPS, 16, 0, note, b.plane(plane, 0), t)
	default:
		b.pack(t, r, size, v, note)
		op := map[int]x86.Op{4: x86.VSTORED, 8: x86.VSTOREQ, 16: x86.VSTOREUPS}[b.Set.vector/b.size*size]
		b.sized(op, 16, 0, note, b.memory(plane), t)
	}
	b.release(t)
}

// pack puts the low bytes of a word's elements, so many of each, to the front of a register. With AVX2 some follow again.
func (b *body) pack(to, from x86.Arg, size int, v value, note string) {
	if b.Set.wide {
		b.sized(narrowing[ways{size, b.size}], b.Set.vector, 0, note, to, from)
		return
	}
	from = b.cut(to, from, size, v)
	half := b.Set.vector / 2
	switch {
	case b.size == 8:
		b.sized(x86.VPSHUFD, b.Set.vector, 0, note, to, from, places(0, 2, 0, 0))
		b.sized(x86.VPERMQ, b.Set.vector, 0, note, to, to, places(0, 2, 0, 0))
		if size < 4 {
			b.sized(x86.VPACKUSDW, half, 0, note, to, to, to)
		}
		if size < 2 {
			b.sized(x86.VPACKUSWB, half, 0, note, to, to, to)
		}
	case size == 2:
		b.sized(x86.VPACKUSDW, b.Set.vector, 0, note, to, from, from)
		b.sized(x86.VPERMQ, b.Set.vector, 0, note, to, to, places(0, 2, 0, 0))
	default:
		b.sized(x86.VPACKUSDW, b.Set.vector, 0, note, to, from, from)
		b.sized(x86.VPACKUSWB, b.Set.vector, 0, note, to, to, to)
		b.sized(x86.VPERMQ, b.Set.vector, 0, note, to, to, places(0, 2, 0, 0))
		b.sized(x86.VPSHUFD, half, 0, note, to, to, places(0, 2, 0, 0))
	}
}

// cut makes the bits of a word's elements 0 that do not fit into so many bytes: AVX2 packs to the nearest that fits.
func (b *body) cut(to, from x86.Arg, size int, v value) x86.Arg {
	if int(b.bits[v]) <= 8*size {
		return from
	}
	by := x86.Imm(32 - 8*size)
	b.sized(x86.VPSLLD, b.Set.vector, 0, b.names[v], to, from, by)
	b.sized(x86.VPSRLD, b.Set.vector, 0, b.names[v], to, to, by)
	return to
}

// places is which of four elements come first, second, third and fourth.
func places(a, b, c, d int) x86.Arg { return x86.Imm(a | b<<2 | c<<4 | d<<6) }

// copyTail copies what is left of the planes that the body finds in the frame, or back: as many elements as a vector has.
func (c *compiler) copyTail(back bool) {
	var list []int
	for i, v := range c.varOf[:len(c.Planes)] {
		needed := v >= 0 && len(c.uses[v]) > 0
		if back {
			needed = false
			for _, s := range c.Func.Stores {
				needed = needed || c.fields[s.Var] == i
			}
		}
		if needed && c.narrow(i) && !c.Set.wide {
			list = append(list, i)
		}
	}
	if list == nil {
		return
	}
	next, over := c.asm.Label(), c.asm.Label()
	c.asm.Emit(x86.XOR4, end, end)
	c.asm.Emit(x86.LABEL, next)
	for _, i := range list {
		from, to := c.plane(i, 0), x86.At(frame, end, c.sizes[i], c.places[i])
		if back {
			from, to = to, from
		}
		ops := map[int][2]x86.Op{1: {x86.VPINSRB, x86.VPEXTRB}, 2: {x86.VPINSRW, x86.VPEXTRW}, 4: {x86.VPINSRD, x86.VPEXTRD}}[c.sizes[i]]
		note := c.Func.Vars[c.Planes[i]].Name
		c.sized(ops[0], 16, 0, note, x86.V(0), x86.V(0), from, x86.Imm(0))
		c.sized(ops[1], 16, 0, note, to, x86.V(0), x86.Imm(0))
	}
	c.asm.Emit(x86.ADDI, at, x86.Imm(1))
	c.asm.Emit(x86.ADDI, end, x86.Imm(1))
	c.asm.Emit(x86.CMP, end, count)
	c.asm.Emit(x86.JE, over)
	c.asm.Emit(x86.CMPI, end, x86.Imm(c.Set.vector/c.size))
	c.asm.Emit(x86.JB, next)
	c.asm.Emit(x86.LABEL, over)
	c.asm.Emit(x86.SUB, at, end)
}
