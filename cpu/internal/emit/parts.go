package emit

import (
	"slices"

	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// part is which of a plane's elements a vector has.
//
// Where all planes have elements of 16 bits, a vector of words covers two vectors of numbers. Instead of the first half of its elements
// and then the second, a round takes those at even places, which are the lower halves of words, and then those at odd ones, the upper
// halves. So a bfloat16 becomes a float32 by a shift or a mask, and nothing is moved across a vector, on the way out neither: what is
// stored at even places waits in the frame for its neighbours.
type part uint8

const (
	row part = iota // one after the other
	even
	odd
)

// narrowest is the bytes of an element of planes that are taken in parts.
const narrowest = 2

// canSplit says whether rounds take planes in parts. Conversions of halves want theirs one after the other, and so do fills of columns.
func (c *compiler) canSplit() bool {
	if slices.ContainsFunc(c.Fills, func(f Fill) bool { return f.Columns }) {
		return false
	}
	for i := range c.Func.Nodes {
		if op := c.Func.Nodes[i].Op; op == ir.FromHalf || op == ir.ToHalf {
			return false
		}
	}
	for _, size := range c.sizes {
		if size != narrowest {
			return false
		}
	}
	return c.size == 2*narrowest
}

// loadPart fills a register with words of a plane's elements.
func (b *body) loadPart(to x86.Arg, plane int, name string) {
	b.vector(x86.VMOVUPS, name, to, b.memory(plane))
	if b.part == even {
		b.words(x86.VPSLLD, name, to, to, x86.Imm(16))
	}
	b.words(x86.VPSRLD, name, to, to, x86.Imm(16))
}

// upperHalf writes a shift of a plane's elements to the upper halves of words.
func (b *body) upperHalf(s *step) {
	name, v, mask := b.names[s.dst], s.args[0], s.args[1]
	switch memory := b.in[v] < 0 && b.spill[v] < 0; {
	case memory && b.part == odd:
		upper, m := x86.V(b.register(mask)), b.memory(b.planeOf[v])
		b.over(s)
		b.vector(x86.VANDPS, name, x86.V(b.take(vectors, s.dst)), upper, m)
	case memory && b.part == even:
		m := b.memory(b.planeOf[v])
		b.over(s)
		to := x86.V(b.take(vectors, s.dst))
		b.vector(x86.VMOVUPS, name, to, m)
		b.words(x86.VPSLLD, name, to, to, x86.Imm(16))
	default:
		x := x86.V(b.register(v))
		b.over(s)
		b.words(x86.VPSLLD, name, x86.V(b.take(vectors, s.dst)), x, x86.Imm(16))
	}
}

// storePart is store for the elements at even places, which wait in the frame, or for those at odd ones, with which they go to the plane.
func (b *body) storePart(s *step, from x86.Arg, note string) {
	t := b.between()
	defer b.release(t)
	place, half := x86.Mem(frame, b.places[s.plane]), x86.Imm(16)
	switch upper := s.op == storeUpper; {
	case b.part == even && upper:
		b.words(x86.VPSRLD, note, t, from, half)
		from = t
	case b.part == even:
		from = b.cut(t, from, narrowest, s.args[0])
	case !upper:
		b.words(x86.VPSLLD, note, t, from, half)
		b.vector(x86.VORPS, note, t, t, place)
	case b.Set.wide:
		b.vector(x86.VMOVUPS, note, t, place)
		b.words(x86.VPTERNLOGD, note, t, from, b.operand(s.args[1]), x86.Imm(ternaryA|ternaryB&ternaryC))
	default:
		b.words(x86.VPBLENDW, note, t, from, place, x86.Imm(0x55))
	}
	if b.part == even {
		b.vector(x86.VSTOREUPS, note, place, from)
	} else {
		b.vector(x86.VSTOREUPS, note, b.memory(s.plane), t)
	}
}

// ordinals are the places of firstAt's elements within a round: that of the vectors of a round, and with parts that of a tail.
func (c *compiler) ordinals() (list []byte) {
	round, lanes := c.round(), c.lanes()
	for k := range round {
		place := k
		if c.split {
			pair, within := k/(2*lanes), k%(2*lanes)
			place = pair*2*lanes + within%lanes*2 + within/lanes
		}
		list = append(list, byte(place))
	}
	for k := 0; c.split && k < lanes; k++ {
		list = append(list, byte(k))
	}
	return list
}

// ordinalsAt is where in the frame those of the body's elements are.
func (b *body) ordinalsAt() int {
	k := b.first
	switch {
	case b.part == odd:
		k += b.lanes()
	case b.split && b.part == row:
		k = b.round()
	}
	return b.firstAt + k*b.size
}
