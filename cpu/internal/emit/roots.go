package emit

import "github.com/fusestep/fusestep/internal/x86"

// The divider makes a vector's roots and its quotients one after the other, which takes longer than the rest of most rules. A root of float32 is also an
// estimate of 14 bits, a step of Newton's, and a correction by what is left of x, all of which the other units do.
//
// Estimates are off by less than 2^-14 of themselves, whatever the processor, so behind the step the root is a neighbour of the nearest number or that itself,
// and so is the half of its inverse. The correction makes of any of these the nearest number, but for the x of HardRoots. There it depends on the estimate.
//
// What is left of x must be a number of float32. So where any of a vector's x is below 2^-100, or negative, infinite or NaN, the divider makes its roots.

// leastRoot is what the estimated root is at least, as the bits of a number: 2^-50. It is NaN where x is infinite, 0 or no number.
const leastRoot = (127 - 50) << 23

// HardRoots are the numbers from 1 to 4 whose roots may come out wrong, as their bits. A number times 4 has the same digits.
var HardRoots = []uint32{0x3f800001, 0x3ffc114a, 0x40551dbf, 0x406e9372, 0x407ffffd, 0x407fffff}

// work is what a vector asks of a processor. Its divider works beside its other units, so estimates are for loops that have little else to do.
type work struct {
	counts                bool
	operations, divisions float64
}

// costs are the operations for which the units for vectors are taken longer than for others, and how many times as long, as it was measured on an Intel Xeon of
// family 6 with AVX-512. What only moves takes none.
var costs = map[x86.Op]float64{x86.VRSQRT14PS: 3, x86.VSQRTPS: 3, x86.VDIVPS: 6, x86.VCVTPS2PD: 3, x86.VMOVUPS: 0, x86.VMOVUPD: 0, x86.VSTOREUPS: 0,
	x86.VSTOREUPD: 0, x86.VBROADCASTSS: 0, x86.KLOADW: 0, x86.KSTOREW: 0}

func (w *work) count(op x86.Op) {
	if !w.counts {
		return
	}
	cost, ok := costs[op]
	if !ok {
		cost = 1
	}
	w.operations += cost
	if op == x86.VDIVPS || op == x86.VRSQRT14PS {
		w.divisions++
	}
}

// RootOperations are the operations, by costs, of a loop that does nothing but divide by roots, which it makes by estimates.
const RootOperations = 18

// Within is the set for processors whose units for vectors do at most so many operations while the divider does a root or a quotient: roots are estimated in
// loops that do no more.
func (s *Set) Within(most float64) *Set {
	within := *s
	within.most = most
	return &within
}

// behind is an instruction that few vectors come to. It stands behind the loop.
type behind struct {
	label, back x86.Arg
	ins         x86.Ins
}

// estimated writes a root by an estimate. In a tail, where elements may be missing, the divider makes it.
func (b *body) estimated(s *step) {
	name := b.names[s.dst]
	if b.mask >= 0 {
		x := b.operand(s.args[0])
		b.over(s)
		b.vector(x86.VSQRTPS, name, x86.V(b.take(vectors, s.dst)), x)
		return
	}
	x, half, least := x86.V(b.register(s.args[0])), b.operand(s.args[1]), b.operand(s.args[2])
	root, inverse, left := b.between(), b.between(), b.between() // of the inverse, half
	ordinary := x86.K(b.idle(masks))
	slow := behind{b.asm.Label(), b.asm.Label(), x86.Ins{Op: x86.VSQRTPS, Size: b.Set.vector, Args: [4]x86.Arg{root, x}, Note: name}}
	b.vector(x86.VRSQRT14PS, name, inverse, x)
	b.vector(x86.VMULPS, name, root, inverse, x)
	b.vector(x86.VCMPPS, name, ordinary, root, least, x86.Imm(atLeast))
	b.maskIns(x86.KORTESTW, name, ordinary, ordinary)
	b.asm.Emit(x86.JAE, slow.label)
	b.vector(x86.VMULPS, name, inverse, inverse, half)
	if half.IsMem() {
		b.broadcast(left.Number(), s.args[1])
	} else {
		b.vector(x86.VMOVUPS, name, left, half)
	}
	b.vector(x86.VFNMADD231PS, name, left, root, inverse)
	b.vector(x86.VFMADD231PS, name, root, left, root)
	b.vector(x86.VFMADD231PS, name, inverse, left, inverse)
	b.vector(x86.VMOVUPS, name, left, x)
	b.vector(x86.VFNMADD231PS, name, left, root, root)
	b.vector(x86.VFMADD231PS, name, root, inverse, left)
	b.asm.Emit(x86.LABEL, slow.back)
	b.behind = append(b.behind, slow)
	b.release(inverse, left)
	b.over(s)
	b.become(s.dst, root)
}

// passBehind writes what stands behind the loop, and the way past it.
func (c *compiler) passBehind() {
	if len(c.behind) == 0 {
		return
	}
	over := c.asm.Label()
	c.asm.Emit(x86.JMP, over)
	defer c.asm.Emit(x86.LABEL, over)
	for _, x := range c.behind {
		c.asm.Emit(x86.LABEL, x.label)
		c.add(x.ins)
		c.asm.Emit(x86.JMP, x.back)
	}
}
