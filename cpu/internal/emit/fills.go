package emit

import (
	"fmt"
	"math"
	"slices"

	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// Fill is a term that the loop sums: a field of the graph that is in no plane. By a tree: the term of the run's element i goes to lane
// i mod Lanes, in order, widened to float64, and then lanes are halved, 64, 32, …, 1 apart. Lanes are in the frame (Code.Lanes), fill after
// fill, and a fill's result is in the first of its own.
//
// Where a loop does nothing but sum one term, a round is a row of Lanes elements, and with AVX-512 lanes are in registers meanwhile.
type Fill struct {
	Var  int
	Kind FillKind
}

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

// planRows chooses whether rounds are rows, and takes the lanes' registers from the compiler's.
func (c *compiler) planRows() {
	c.rows = len(c.Fills) == 1 && len(c.Func.Stores) == 1 && !c.split && !c.hasElement()
	if c.rows && c.Set.wide {
		set := *c.Set
		set.number -= lanesSize / set.vector
		c.Set, c.held = &set, true
	}
}

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

// enterFills sets lanes to what they begin with.
func (c *compiler) enterFills() {
	if len(c.Fills) == 0 {
		return
	}
	vector := c.Set.vector
	c.lanesAt, c.termAt = c.reserve(len(c.Fills)*lanesSize), c.reserve(vector)
	for k, fill := range c.Fills {
		c.neutral(x86.V(0), fill.Kind, doubles)
		for i := 0; i < Lanes; i += vector / doubles {
			if c.held {
				c.sized(x86.VMOVUPD, vector, 0, allLanes, c.heldLanes(i), x86.V(0))
			} else {
				c.sized(x86.VSTOREUPD, vector, 0, allLanes, c.fixed(k, i), x86.V(0))
			}
		}
	}
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

// fill writes a store to a fill. Narrow terms go through memory, whose loads widen; so do those of a tail, behind which is what changes no lane.
func (b *body) fill(s *step) {
	k, v, vector := s.plane-len(b.Planes), s.args[0], b.Set.vector
	kind, name := b.Fills[k].Kind, b.Func.Vars[b.Fills[k].Var].Name+" +="
	memory, term := x86.Mem(frame, b.termAt), x86.Arg{}
	switch direct := b.mask < 0 && b.size == 4 && b.unread(v, b.size); {
	case direct:
		memory = b.memory(b.planeOf[v])
	case b.mask >= 0:
		r, t := x86.V(b.register(v)), b.between()
		b.neutral(t, kind, b.size)
		b.vector(x86.VSTOREUPS, name, memory, t)
		if b.Set.wide {
			b.masked(x86.VSTOREUPS, b.mask, name, memory, r)
		} else {
			b.vector(x86.VMASKSTOREPS, name, memory, x86.V(b.mask), r)
		}
		b.release(t)
	case b.size == 4:
		term = x86.V(b.register(v))
		b.vector(x86.VSTOREUPS, name, memory, term)
	default:
		term = x86.V(b.register(v))
	}
	first := b.first
	if b.part == odd {
		first += b.lanes()
	}
	each := vector / doubles
	for i := 0; i < b.lanes(); i += each {
		t := b.between()
		switch {
		case b.size == 4 && i == 0 && term != (x86.Arg{}):
			b.sized(x86.VCVTPS2PD, vector, 0, name, t, term)
		case b.size == 4:
			b.sized(x86.VCVTPS2PD, vector, 0, name, t, memory.Plus(i*b.size))
		case b.mask >= 0:
			b.sized(x86.VMOVUPD, vector, 0, name, t, memory)
		case kind == FillSquares:
			b.sized(x86.VMULPD, vector, 0, name, t, term, term)
		default:
			b.sized(x86.VMOVUPD, vector, 0, name, t, term)
		}
		if kind == FillSquares && term == (x86.Arg{}) && !b.exact(kind) {
			b.sized(x86.VMULPD, vector, 0, name, t, t, t)
		}
		b.toLane(k, first+i, t, name)
		b.release(t)
	}
	b.over(s)
}

// toLane joins a vector to lanes, of which i is the first.
func (b *body) toLane(k, i int, term x86.Arg, name string) {
	kind, vector, memory, lanes := b.Fills[k].Kind, b.Set.vector, b.lane(k, i), b.heldLanes(i)
	switch {
	case b.exact(kind) && b.held:
		b.sized(x86.VFMADD231PD, vector, 0, name, lanes, term, term)
		return
	case b.exact(kind):
		lanes = b.between()
		b.sized(x86.VMOVUPD, vector, 0, name, lanes, memory)
		b.sized(x86.VFMADD231PD, vector, 0, name, lanes, term, term)
		b.sized(x86.VSTOREUPD, vector, 0, name, memory, lanes)
		b.release(lanes)
		return
	case kind != FillMax && b.held:
		b.sized(x86.VADDPD, vector, 0, name, lanes, lanes, term)
		return
	case kind != FillMax:
		b.sized(x86.VADDPD, vector, 0, name, term, term, memory)
		b.sized(x86.VSTOREUPD, vector, 0, name, memory, term)
		return
	}
	truth := b.between()
	spent := []x86.Arg{truth}
	if b.Set.wide {
		free := b.idle(masks)
		b.files[masks].holds[free] = empty
		truth = x86.K(free)
	}
	if !b.held {
		lanes = b.between()
		spent = append(spent, lanes)
		b.sized(x86.VMOVUPD, vector, 0, name, lanes, memory)
	}
	b.greatest(vector, lanes, term, truth, name)
	if !b.held {
		b.sized(x86.VSTOREUPD, vector, 0, name, memory, lanes)
	}
	b.release(spent...)
}

// exact says whether the square of a term is a float64: then to multiply and add, rounded once, is the same as rounded twice.
func (c *compiler) exact(kind FillKind) bool { return kind == FillSquares && c.size < doubles }

// greatest takes numbers into a register where they are greater than those, or NaN. Truth is a mask where vectors have 64 bytes.
func (c *compiler) greatest(size int, to, term, truth x86.Arg, name string) {
	for _, than := range []struct {
		x         x86.Arg
		predicate int
	}{{to, predicates[ir.Lt]}, {term, predicates[ir.Ne]}} {
		c.sized(x86.VCMPPD, size, 0, name, truth, than.x, term, x86.Imm(than.predicate))
		if size == AVX512.vector {
			c.sized(x86.VBLENDMPD, size, truth.Number(), name, to, to, term)
		} else {
			c.sized(x86.VBLENDVPD, size, 0, name, to, to, term, truth)
		}
	}
}

// leaveRows is behind the rounds: lanes go to memory.
func (c *compiler) leaveRows() {
	for i := 0; i < Lanes && c.held; i += c.Set.vector / doubles {
		c.sized(x86.VSTOREUPD, c.Set.vector, 0, allLanes, c.fixed(0, i), c.heldLanes(i))
	}
	c.held = false
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

// halve joins lanes 64, 32, …, 1 apart.
func (c *compiler) halve() {
	for apart := Lanes / 2; apart > 0; apart /= 2 {
		for k, fill := range c.Fills {
			note := fmt.Sprintf("%d lanes", apart)
			size := min(c.Set.vector, max(apart*doubles, AVX2.vector)) // the last vectors' upper halves mean nothing
			lanes, term, truth := x86.V(0), x86.V(1), x86.V(2)
			if size == AVX512.vector {
				truth = x86.K(1)
			}
			for i := 0; i < apart; i += size / doubles {
				c.sized(x86.VMOVUPD, size, 0, note, lanes, c.fixed(k, i))
				if other := c.fixed(k, i+apart); fill.Kind == FillMax {
					c.sized(x86.VMOVUPD, size, 0, note, term, other)
					c.greatest(size, lanes, term, truth, note)
				} else {
					c.sized(x86.VADDPD, size, 0, note, lanes, lanes, other)
				}
				c.sized(x86.VSTOREUPD, size, 0, note, c.fixed(k, i), lanes)
			}
		}
	}
}
