package emit

import (
	"fmt"

	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// Reduce is a loop that sums a term over elements, by a tree: element i is added to lane i mod Lanes, in order, and then lanes are
// added half of them apart. The term is what the graph, of width 64, stores to the field Sum.
//
// The first address that the loop is given is that of Lanes float64's, of which the first becomes the sum. Those of Planes follow.
type Reduce struct {
	Loop
	Sum int // a field that is in no plane
}

// Lanes is how many lanes a sum has.
const Lanes = 128

const (
	sumPlane  = 0 // among the planes
	doubles   = 8 // bytes of a lane
	lanesSize = Lanes * doubles
)

// reduction is where a term goes.
type reduction struct {
	memory bool // lanes are in memory, and not in registers beyond the compiler's
}

// Compile makes the loop.
func (r Reduce) Compile() (*Code, error) { return r.compile(nil) }

func (r Reduce) compile(mutate func(*x86.Ins)) (*Code, error) {
	if r.Func.Width != 64 {
		return nil, fmt.Errorf("emit: %s: a sum of numbers of %d bits", r.Func.Name, r.Func.Width)
	}
	if r.Func.Vars[r.Sum].Type != ir.Float {
		return nil, fmt.Errorf("emit: %s: the sum %s is no number", r.Func.Name, r.Func.Vars[r.Sum].Name)
	}
	set := *r.Set
	sum := &reduction{memory: !set.wide}
	if set.wide {
		set.number -= lanesSize / set.vector // the lanes'
	} else {
		set.number-- // what a lane's vector passes through
	}
	l := r.Loop
	l.Set = &set
	l.Planes = append([]int{r.Sum}, l.Planes...)
	c := &compiler{Loop: &l, size: doubles, mutate: mutate, sum: sum}
	if c.hasElement() { // whose ordinals are those of a Loop's rounds
		return nil, fmt.Errorf("emit: %s: a sum of what depends on the element's index", r.Func.Name)
	}
	return c.compile(c.reduce)
}

// lane is the memory of the lanes, bytes after the first.
func (c *compiler) lane(bytes int) x86.Arg { return x86.Mem(c.base[sumPlane], bytes) }

// passing is the register of a lanes' vector, or what a vector passes through.
func (c *compiler) passing(bytes int) x86.Arg { return x86.V(c.Set.number + bytes/c.Set.vector) }

// sumUp adds a term to the lanes. A tail's is added in memory, where the lanes begin at the tail's element.
func (b *body) sumUp(s *step) {
	term := x86.V(b.register(s.args[0]))
	name := b.Func.Vars[b.Planes[sumPlane]].Name + " +="
	bytes := b.first * doubles
	switch {
	case b.mask < 0 && !b.sum.memory:
		lanes := b.passing(bytes)
		b.vector(x86.VADDPS, name, lanes, lanes, term)
	case b.mask < 0:
		b.vector(x86.VADDPS, name, b.passing(0), term, b.lane(bytes))
		b.vector(x86.VSTOREUPS, "", b.lane(bytes), b.passing(0))
	default:
		b.vector(x86.VADDPS, name, b.passing(0), term, b.lane(bytes))
		if b.Set.wide {
			b.masked(x86.VSTOREUPS, b.mask, "", b.lane(bytes), b.passing(0))
		} else {
			b.vector(x86.VMASKSTOREPS, "", b.lane(bytes), x86.V(b.mask), b.passing(0))
		}
	}
	b.over(s)
}

// reduce writes all of the code.
func (c *compiler) reduce() {
	const row = Lanes
	vector := c.Set.vector
	lanes := vector / doubles
	c.enter()
	saved := x86.Mem(frame, c.reserve(vector)) // the address of the lanes
	c.total = c.constants
	c.asm.Emit(x86.MOV, saved, c.base[sumPlane])
	again, tail, rest, part, halve := c.asm.Label(), c.asm.Label(), c.asm.Label(), c.asm.Label(), c.asm.Label()
	for i := 0; i < lanesSize; i += vector {
		v := c.passing(0)
		if !c.sum.memory {
			v = c.passing(i)
		}
		c.vector(x86.VXORPS, "", v, v, v)
		if c.sum.memory {
			c.vector(x86.VSTOREUPS, "", c.lane(i), v)
		}
	}
	c.asm.Emit(x86.XOR4, at, at)
	c.asm.Emit(x86.MOV, end, count)
	c.asm.Emit(x86.ANDI, end, x86.Imm(-row))
	c.asm.Emit(x86.JE, tail)
	c.asm.Emit(x86.ALIGN, x86.Imm(32))
	c.asm.Emit(x86.LABEL, again)
	for u := 0; u < row; u += lanes {
		c.newBody(false).run(u)
	}
	for i := range c.Planes {
		for b := 0; i != sumPlane && b < row*c.sizes[i]; b += roundBytes {
			if c.Far != 0 {
				c.asm.Emit(x86.PREFETCHT1, c.plane(i, b+c.Far))
			}
			if c.Near != 0 {
				c.asm.Emit(x86.PREFETCHT0, c.plane(i, b+c.Near))
			}
		}
	}
	c.asm.Emit(x86.SUBI, at, x86.Imm(-row)) // of 128, only the negative is a byte
	c.asm.Emit(x86.CMP, at, end)
	c.asm.Emit(x86.JB, again)
	c.asm.Emit(x86.LABEL, tail)
	for i := 0; i < lanesSize && !c.sum.memory; i += vector {
		c.vector(x86.VSTOREUPS, "", c.lane(i), c.passing(i))
	}
	c.sum.memory = true
	c.asm.Emit(x86.SUB, count, at)
	c.asm.Emit(x86.JE, halve)
	c.asm.Emit(x86.LABEL, rest)
	c.asm.Emit(x86.CMPI, count, x86.Imm(lanes))
	c.asm.Emit(x86.JB, part)
	c.newBody(false).run(0)
	for _, r := range []struct {
		op   x86.Op
		what x86.Arg
		by   int
	}{{x86.ADDI, at, lanes}, {x86.ADDI, c.base[sumPlane], vector}, {x86.SUBI, count, lanes}} {
		c.asm.Emit(r.op, r.what, x86.Imm(r.by))
	}
	c.asm.Emit(x86.JG, rest)
	c.asm.Emit(x86.JMP, halve)
	c.asm.Emit(x86.LABEL, part)
	b := c.newBody(true)
	c.copyTail(false)
	c.tailMask(b.mask, lanes)
	b.run(0)
	c.copyTail(true)
	c.asm.Emit(x86.LABEL, halve)
	c.asm.Emit(x86.LOAD, c.base[sumPlane], saved)
	c.halve()
	c.asm.Emit(x86.VZEROUPPER)
	c.asm.Emit(x86.RET)
}

// halve adds lanes 64, 32, …, 1 apart.
func (c *compiler) halve() {
	v := x86.V(0)
	for apart := lanesSize / 2; apart >= doubles; apart /= 2 {
		size := min(c.Set.vector, max(apart, AVX2.vector)) // the last vectors' upper halves mean nothing
		for l := 0; l < apart; l += size {
			for _, i := range []x86.Ins{
				{Op: x86.VMOVUPD, Args: [4]x86.Arg{v, c.lane(l)}},
				{Op: x86.VADDPD, Args: [4]x86.Arg{v, v, c.lane(l + apart)}},
				{Op: x86.VSTOREUPD, Args: [4]x86.Arg{c.lane(l), v}},
			} {
				i.Size = size
				c.add(i)
			}
		}
	}
}
