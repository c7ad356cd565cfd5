package emit

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// Fill is a term that the loop sums: a field of the graph that is in no plane. By a tree: the term of the run's element i goes to lane
// i mod Lanes, in order, widened to float64, and then lanes are halved, 64, 32, …, 1 apart. Lanes are in the frame (Code.Lanes), fill after
// fill, and a fill's result is in the first of its own.
//
// Where a loop does nothing but sum one term, a round is a row of Lanes elements, and with AVX-512 lanes are in registers meanwhile.
//
// A fill of columns has no lanes. The term of the run's element i is joined, widened to float64, to the i-th of the fill's float64s: their address is
// behind those of the planes, fill after fill of columns. Behind the run's last element there is memory for Beyond more, which the loop changes.
type Fill struct {
	Var     int
	Kind    FillKind
	Columns bool
}

// Beyond is the float64s that a fill of columns has behind a run's last element.
const Beyond = roundBytes / 4

// FillKind is what becomes of a fill's terms.
type FillKind uint8

const (
	FillSum     FillKind = iota
	FillSquares          // each is squared, in float64
	FillMax              // what is greater takes the place of what is in the lane, and a NaN stays
)

const (
	Lanes     = 128 // how many a fill has
	doubles   = 8   // bytes of a lane
	lanesSize = Lanes * doubles
	quad      = 4 // lanes of a vector of AVX2
)

// allLanes is a note.
const allLanes = "lanes"

// checkFills fails where a fill is no number.
func (c *compiler) checkFills() error {
	for _, fill := range c.Fills {
		if v := c.Func.Vars[fill.Var]; v.Type != ir.Float || slices.Contains(c.Planes, fill.Var) {
			return fmt.Errorf("emit: %s: the loop cannot sum %s", c.Func.Name, v.Name)
		}
	}
	return nil
}

// planLong chooses whether rounds are long, and takes the lanes' registers from the compiler's.
func (c *compiler) planLong() {
	c.long = len(c.Fills) == 1 && !c.Fills[0].Columns && len(c.Func.Stores) == 1 && !c.split && !c.hasElement()
	if c.long && c.Set.wide {
		set := *c.Set
		set.number -= lanesSize / set.vector
		c.Set, c.held = &set, true
	}
}

// column is the memory of what a fill of columns has of the round's elements, from the i-th on.
func (c *compiler) column(fill, i int) x86.Arg { return c.plane(c.columnsAt[fill], i*doubles) }

// isFill says whether a step stores to a fill.
func (c *compiler) isFill(s *step) bool { return s.plane >= len(c.Planes) }

// lane is the memory of a lane, counted from that of a round's first element.
func (c *compiler) lane(fill, i int) x86.Arg {
	return x86.At(frame, laneOf, doubles, c.lanesAt+fill*lanesSize+i*doubles)
}

// fixed is the memory of a lane, counted from the first.
func (c *compiler) fixed(fill, i int) x86.Arg {
	return x86.Mem(frame, c.lanesAt+fill*lanesSize+i*doubles)
}

// heldLanes is the register with a vector of lanes, of which i is the first.
func (c *compiler) heldLanes(i int) x86.Arg { return x86.V(c.Set.number + i*doubles/c.Set.vector) }

// enterFills sets lanes to what they begin with: as many as there are elements, at least.
func (c *compiler) enterFills() {
	if len(c.Fills) == 0 {
		return
	}
	vector := c.Set.vector
	c.eachSpan(count, func(lo, hi int) {
		for _, k := range c.results() {
			c.neutral(x86.V(0), c.Fills[k].Kind, doubles)
			for i := lo; i < hi; i += vector / doubles {
				if c.held {
					c.sized(x86.VMOVUPD, vector, 0, allLanes, c.heldLanes(i), x86.V(0))
				} else {
					c.sized(x86.VSTOREUPD, vector, 0, allLanes, c.fixed(k, i), x86.V(0))
				}
			}
		}
	})
	c.asm.Emit(x86.XOR4, laneOf, laneOf)
}

// neutral fills a register with numbers, of so many bytes, that change no lane.
func (c *compiler) neutral(to x86.Arg, kind FillKind, size int) {
	if kind != FillMax {
		c.sized(x86.VXORPS, c.Set.vector, 0, allLanes, to, to, to)
		return
	}
	place, infinity := x86.Mem(frame, c.termAt), uint64(math.Float32bits(float32(math.Inf(-1))))
	op := x86.VBROADCASTSS
	if size == doubles {
		infinity, op = math.Float64bits(math.Inf(-1)), x86.VBROADCASTSD
		c.sized(x86.MOVI, 0, 0, allLanes, place.Plus(4), x86.Imm(int(infinity>>32)))
	}
	c.sized(x86.MOVI, 0, 0, allLanes, place, x86.Imm(int(uint32(infinity))))
	c.sized(op, c.Set.vector, 0, allLanes, to, place)
}

// nextLane makes laneOf the lane of the round's first element.
func (c *compiler) nextLane() {
	if len(c.Fills) > 0 {
		c.asm.Emit(x86.MOV, laneOf, at)
		c.asm.Emit(x86.ANDI, laneOf, x86.Imm(Lanes-1))
	}
}

// fill writes a store to fills. Narrow terms go through memory, whose loads widen. Where a tail has no elements, terms become what changes no lane.
func (b *body) fill(s *step) {
	fills, v := append([]int{s.plane}, s.more...), s.args[0]
	for i := range fills {
		fills[i] -= len(b.Planes)
	}
	var names []string
	for _, k := range fills {
		names = append(names, b.Func.Vars[b.Fills[k].Var].Name)
	}
	name := strings.Join(names, ", ") + " +="
	memory, term := x86.Mem(frame, b.termAt), x86.Arg{}
	direct := b.mask < 0 && b.size == 4 && b.unread(v, b.size)
	if direct && slices.ContainsFunc(fills, func(k int) bool { return b.Fills[k].Columns }) { // whose address may need the register that the plane's would be in
		direct = b.base[b.planeOf[v]] != (x86.Arg{})
	}
	if direct {
		memory = b.memory(b.planeOf[v])
	} else {
		term = x86.V(b.register(v))
	}
	first := b.first
	if b.part == odd {
		first += b.lanes()
	}
	for len(fills) > 0 {
		kind, of := b.Fills[fills[0]].Kind, fills // of a tail, those of which what changes no lane is the same
		if b.mask >= 0 {
			n := slices.IndexFunc(fills, func(k int) bool { return (b.Fills[k].Kind == FillMax) != (kind == FillMax) })
			if n > 0 {
				of = fills[:n]
			}
		}
		fills = fills[len(of):]
		b.fillBy(of, first, kind, memory, term, name)
	}
	b.over(s)
}

// fillBy joins what is in a register, or if there is none in memory, to the lanes of fills. In a tail they are of a kind.
func (b *body) fillBy(fills []int, first int, kind FillKind, memory, term x86.Arg, name string) {
	vector := b.Set.vector
	if b.mask >= 0 {
		t := b.between()
		defer b.release(t)
		b.neutral(t, kind, b.size)
		if b.Set.wide {
			b.masked(x86.VBLENDMPS, b.mask, name, t, t, term)
		} else {
			b.vector(x86.VBLENDVPS, name, t, t, term, x86.V(b.mask))
		}
		term = t
	}
	switch {
	case b.size == doubles && b.opens:
		t := b.between()
		b.vector(x86.VMOVUPS, name, t, term)
		b.open(fills, []x86.Arg{t}, name)
		return
	case b.size == doubles && b.alone:
		b.resultsOf(fills, []x86.Arg{term}, name)
		return
	case b.size == doubles:
		b.toLanes(fills, first, term, name)
		return
	}
	if term != (x86.Arg{}) {
		b.vector(x86.VSTOREUPS, name, memory, term)
	}
	var terms []x86.Arg
	for i := 0; i < b.lanes(); i += vector / doubles {
		t := b.between()
		if i == 0 && term != (x86.Arg{}) {
			b.sized(x86.VCVTPS2PD, vector, 0, name, t, term)
		} else {
			b.sized(x86.VCVTPS2PD, vector, 0, name, t, memory.Plus(i*b.size))
		}
		if terms = append(terms, t); b.alone {
			continue
		}
		b.toLanes(fills, first+i, t, name)
		b.release(t)
	}
	if b.opens {
		b.open(fills, terms, name)
	} else if b.alone {
		b.resultsOf(fills, terms, name)
		b.release(terms...)
	}
}

// toLanes joins a vector to lanes of fills, or to what columns have, of which i is the first.
func (b *body) toLanes(fills []int, i int, term x86.Arg, name string) {
	vector := b.Set.vector
	for _, k := range fills {
		kind, memory, lanes := b.Fills[k].Kind, b.lane(k, i), b.heldLanes(i)
		if b.Fills[k].Columns {
			memory = b.column(k, i)
		}
		var spent []x86.Arg
		between := func() x86.Arg {
			t := b.between()
			spent = append(spent, t)
			return t
		}
		x := term
		if kind == FillSquares && !b.exact(kind) {
			x = between()
			b.sized(x86.VMULPD, vector, 0, name, x, term, term)
		}
		truth := x86.Arg{}
		if kind == FillMax {
			if truth = between(); b.Set.wide {
				free := b.idle(masks)
				b.files[masks].holds[free] = empty
				truth = x86.K(free)
			}
		}
		if !b.held {
			if lanes = between(); kind == FillMax || b.exact(kind) {
				b.sized(x86.VMOVUPD, vector, 0, name, lanes, memory)
			}
		}
		switch {
		case b.exact(kind):
			b.sized(x86.VFMADD231PD, vector, 0, name, lanes, x, x)
		case kind == FillMax:
			b.greatest(vector, lanes, x, truth, name)
		case b.held:
			b.sized(x86.VADDPD, vector, 0, name, lanes, lanes, x)
		default:
			b.sized(x86.VADDPD, vector, 0, name, lanes, x, memory)
		}
		if !b.held {
			b.sized(x86.VSTOREUPD, vector, 0, name, memory, lanes)
		}
		b.release(spent...)
	}
}

// exact says whether the square of a term is a float64: then to multiply and add, rounded once, is the same as rounded twice.
func (c *compiler) exact(kind FillKind) bool { return kind == FillSquares && c.size < doubles }

// greatest takes numbers into a register where they are greater than those, or NaN. Truth is a mask with AVX-512.
func (c *compiler) greatest(size int, to, term, truth x86.Arg, name string) {
	for _, than := range []struct {
		x         x86.Arg
		predicate int
	}{{to, predicates[ir.Lt]}, {term, predicates[ir.Ne]}} {
		c.sized(x86.VCMPPD, size, 0, name, truth, than.x, term, x86.Imm(than.predicate))
		if c.Set.wide {
			c.sized(x86.VBLENDMPD, size, truth.Number(), name, to, to, term)
		} else {
			c.sized(x86.VBLENDVPD, size, 0, name, to, to, term, truth)
		}
	}
}

// leaveLanes is behind the rounds: lanes go to memory.
func (c *compiler) leaveLanes() {
	if !c.held {
		return
	}
	c.eachSpan(count, func(lo, hi int) {
		for i := lo; i < hi; i += c.Set.vector / doubles {
			c.sized(x86.VSTOREUPD, c.Set.vector, 0, allLanes, c.fixed(0, i), c.heldLanes(i))
		}
	})
	c.held = false
}

// eachSpan writes what is done with all lanes that n elements may have: those up to the first of spans, then those up to the next.
func (c *compiler) eachSpan(n x86.Arg, write func(lo, hi int)) {
	lo, done := 0, c.asm.Label()
	for _, hi := range c.spans() {
		if lo > 0 {
			c.asm.Emit(x86.CMPI, n, x86.Imm(lo+1))
			c.asm.Emit(x86.JB, done)
		}
		write(lo, hi)
		lo = hi
	}
	c.asm.Emit(x86.LABEL, done)
}

// inOrder puts lanes in order behind rounds in parts: of each two vectors of elements, those at even places have been in the first half.
func (c *compiler) inOrder() {
	half := c.lanes()
	for k := range c.Fills {
		for group := 0; group < Lanes; group += 2 * half {
			n := 0
			for i := 0; i < half; i += quad {
				for _, twice := range []x86.Arg{places(0, 0, 1, 1), places(2, 2, 3, 3)} {
					c.sized(x86.VPERMQ, AVX2.vector, 0, allLanes, x86.V(n), c.fixed(k, group+i), twice)
					c.sized(x86.VPERMQ, AVX2.vector, 0, allLanes, x86.V(n+1), c.fixed(k, group+half+i), twice)
					n += 2
				}
			}
			for i := 0; i < n; i += 2 {
				c.sized(x86.VPBLENDW, AVX2.vector, 0, allLanes, x86.V(i), x86.V(i), x86.V(i+1), x86.Imm(0xF0))
				c.sized(x86.VSTOREUPD, AVX2.vector, 0, allLanes, c.fixed(k, group+i/2*quad), x86.V(i))
			}
		}
	}
	c.loadKept()
}

// halve joins lanes 64, 32, …, 1 apart. Where elements are few, so are lanes: the others would change nothing.
func (c *compiler) halve() {
	if len(c.results()) == 0 {
		return
	}
	spans, done := c.spans(), c.asm.Label()
	if len(spans) > 1 {
		c.asm.Emit(x86.LOAD, end, c.rowLen())
	}
	for i, lanes := range spans {
		more := c.asm.Label()
		if i < len(spans)-1 {
			c.asm.Emit(x86.CMPI, end, x86.Imm(lanes))
			c.asm.Emit(x86.JG, more)
		}
		for _, k := range c.results() {
			c.halveOf(k, lanes)
		}
		if i < len(spans)-1 {
			c.asm.Emit(x86.JMP, done)
			c.asm.Emit(x86.LABEL, more)
		}
	}
	c.asm.Emit(x86.LABEL, done)
}

// halveOf is halve for the first of a fill's lanes.
func (c *compiler) halveOf(k, lanes int) {
	to, other, free := x86.V(0), x86.V(1), 1
	apart := c.Set.vector / doubles
	c.reduce(k, 0, apart, lanes, 0)
	if apart > quad {
		c.sized(x86.VSTOREUPD, c.Set.vector, 0, allLanes, c.fixed(k, 0), to)
		c.join(k, AVX2.vector, to, c.fixed(k, quad), free)
	}
	for _, upper := range []x86.Arg{places(2, 3, 2, 3), places(1, 1, 1, 1)} {
		c.sized(x86.VPERMQ, AVX2.vector, 0, allLanes, other, to, upper)
		c.join(k, AVX2.vector, to, other, free+1)
	}
	c.result(k, to)
}

// reduce leaves in a register, the first of free ones, the vector of a fill's lanes from i on, to which those apart, 2·apart, … from them have been joined.
func (c *compiler) reduce(k, i, apart, lanes, free int) {
	to := x86.V(free)
	if apart == lanes {
		c.sized(x86.VMOVUPD, c.Set.vector, 0, allLanes, to, c.fixed(k, i))
		return
	}
	c.reduce(k, i, 2*apart, lanes, free)
	if other := c.fixed(k, i+apart); 2*apart == lanes {
		c.join(k, c.Set.vector, to, other, free+1)
		return
	}
	c.reduce(k, i+apart, 2*apart, lanes, free+1)
	c.join(k, c.Set.vector, to, x86.V(free+1), free+2)
}

// join joins a vector of so many bytes to a fill's lanes in a register. Registers from free on are so.
func (c *compiler) join(k, size int, to, other x86.Arg, free int) {
	if c.Fills[k].Kind != FillMax {
		c.sized(x86.VADDPD, size, 0, allLanes, to, to, other)
		return
	}
	if other.IsMem() {
		c.sized(x86.VMOVUPD, size, 0, allLanes, x86.V(free), other)
		other, free = x86.V(free), free+1
	}
	truth := x86.V(free)
	if c.Set.wide {
		truth = x86.K(1)
	}
	c.greatest(size, to, other, truth, allLanes)
}
