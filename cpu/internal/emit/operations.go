package emit

import (
	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// operations are those of two numbers, bit by bit of two words, and of two truth values with AVX2, whose masks are vectors.
var operations = map[ir.Op]x86.Op{ir.Add: x86.VADDPS, ir.Sub: x86.VSUBPS, ir.Mul: x86.VMULPS, ir.Div: x86.VDIVPS,
	ir.Neg: x86.VXORPS, ir.Abs: x86.VANDPS, ir.And: x86.VANDPS, ir.Or: x86.VORPS, ir.Not: x86.VXORPS,
	ir.WAnd: x86.VANDPS, ir.WOr: x86.VORPS, ir.WXor: x86.VXORPS}

// Predicates of comparisons that raise no exception, all false for NaN but ne, and those with the operands swapped.
var (
	predicates = map[ir.Op]int{ir.Lt: 0x11, ir.Le: 0x12, ir.Eq: 0x00, ir.Ne: 0x04}
	reversed   = map[ir.Op]int{ir.Lt: 0x1E, ir.Le: 0x1D, ir.Eq: 0x00, ir.Ne: 0x04}
)

// atLeast is likewise false for NaN.
const atLeast = 0x1D

// vectorStep writes an operation whose result is in a vector register.
func (b *body) vectorStep(s *step) {
	name := b.names[s.dst]
	switch s.op {
	case ir.Sqrt:
		a := b.operand(s.args[0])
		b.over(s)
		b.vector(x86.VSQRTPS, name, x86.V(b.take(vectors, s.dst)), a)
	case maximum, minimum:
		b.extreme(s)
	case estimatedRoot:
		b.estimated(s)
	case ternary:
		b.ternary(s)
	case quieted:
		b.quieted(s)
	case roundedSum:
		b.roundedSum(s)
	case upperHalf:
		b.upperHalf(s)
	case ir.Select, orZero:
		b.choose(s)
	case ir.Lt, ir.Le, ir.Eq, ir.Ne:
		x, y, predicate := b.compared(s)
		b.over(s)
		b.vector(x86.VCMPPS, name, x86.V(b.take(vectors, s.dst)), x, y, predicate)
	default:
		op, ok := operations[s.op]
		if !ok {
			b.wordStep(s)
			return
		}
		x, y := s.args[0], s.args[1]
		if s.op != ir.Sub && s.op != ir.Div && b.better(y, x) {
			x, y = y, x // of two NaNs, another one comes out
		}
		first, second := x86.V(b.register(x)), b.operand(y)
		b.over(s)
		b.vector(op, name, x86.V(b.take(vectors, s.dst)), first, second)
	}
}

// better says whether it is better to have x in a register than y.
func (b *body) better(x, y value) bool {
	if (b.in[x] >= 0) != (b.in[y] >= 0) {
		return b.in[x] >= 0
	}
	return b.in[x] < 0 && b.left(x) > 1 && b.inBlock[x] < 0 && (b.left(y) <= 1 || b.inBlock[y] >= 0)
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
	case tiny:
		x := b.operand(s.args[0])
		b.over(s)
		b.vector(x86.VFPCLASSPS, name, x86.K(b.take(masks, s.dst)), x, x86.Imm(0x26)) // zero of either sign, or subnormal
	case ir.WLt, ir.WEq:
		b.wordTruth(s)
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
