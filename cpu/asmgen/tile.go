package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/fusestep/fusestep/kernels/ir"
)

// operations writes the tile interpreter's loops, at each width: one for each operation of package ir, and one for each compound.
//
// All loops have one signature. A loop makes n bytes of dst, a multiple of the vector, from the operands a, b, c and d, as many as the
// operation has. After each vector an operand advances by its step: a vector, or 0 where one vector stands for all elements. The
// loop also prefetches n bytes, two tiles after next. It prefetches them into the second-level cache, because a core can wait for
// more lines there than in the first. A truth value in memory has all bits of its element set, or none.
func (w *writer) operations() {
	for _, width := range []int{32, 64} {
		for op := ir.Add; op <= ir.Select; op++ {
			w.operation(w.operationName(op.String(), width), fmt.Sprintf("ir's %s", op), width, op.Arity(), w.single(op, width))
		}
		for _, c := range compounds {
			w.operation(w.operationName(c.name, width), c.doc, width, c.arity, func(x, y reg.VecVirtual, operand func(i int) Op) {
				c.write(w, width, x, y, operand)
			})
		}
	}
}

// operationName is such as addF32AVX2.
func (w *writer) operationName(op string, width int) string {
	return fmt.Sprintf("%sF%d%s", op, width, set)
}

// compounds are operations that stand for several of package ir, each rounded as there: what rules are full of. A tile that is
// neither stored nor loaded is half the time of an operation.
var compounds = []struct {
	name, doc string
	arity     int
	write     func(w *writer, width int, x, y reg.VecVirtual, operand func(i int) Op)
}{
	{"mulAdd", "a·b + c, rounded twice,", 3, func(w *writer, width int, x, y reg.VecVirtual, operand func(i int) Op) {
		w.number(ir.Mul, width, x, operand(1), y)
		w.number(ir.Add, width, y, operand(2), y)
	}},
	{"mulSub", "a·b - c, rounded twice,", 3, func(w *writer, width int, x, y reg.VecVirtual, operand func(i int) Op) {
		w.number(ir.Mul, width, x, operand(1), y)
		w.number(ir.Sub, width, y, operand(2), y)
	}},
	{"subMul", "c - a·b, rounded twice,", 3, func(w *writer, width int, x, y reg.VecVirtual, operand func(i int) Op) {
		z := w.reg()
		w.move(width, operand(2), z)
		w.number(ir.Mul, width, x, operand(1), y)
		w.number(ir.Sub, width, z, y, y)
	}},
	{"mulMulAdd", "a·b + c·d, rounded three times,", 4, func(w *writer, width int, x, y reg.VecVirtual, operand func(i int) Op) {
		z := w.reg()
		w.move(width, operand(2), z)
		w.number(ir.Mul, width, x, operand(1), y)
		w.number(ir.Mul, width, z, operand(3), z)
		w.number(ir.Add, width, y, z, y)
	}},
	{"mulMulSub", "a·b - c·d, rounded three times,", 4, func(w *writer, width int, x, y reg.VecVirtual, operand func(i int) Op) {
		z := w.reg()
		w.move(width, operand(2), z)
		w.number(ir.Mul, width, x, operand(1), y)
		w.number(ir.Mul, width, z, operand(3), z)
		w.number(ir.Sub, width, y, z, y)
	}},
	{"selectLt", "a < b ? c : d", 4, selectBy(ir.Lt)},
	{"selectLe", "a <= b ? c : d", 4, selectBy(ir.Le)},
	{"selectEq", "a == b ? c : d", 4, selectBy(ir.Eq)},
	{"selectNe", "a != b ? c : d", 4, selectBy(ir.Ne)},
	{"move", "a", 1, func(w *writer, width int, x, y reg.VecVirtual, _ func(i int) Op) { w.move(width, x, y) }},
	{"flush", "|a| < b ? 0 : a", 2, func(w *writer, width int, x, y reg.VecVirtual, operand func(i int) Op) {
		size := w.reg()
		w.number(ir.Abs, width, x, w.bits(ir.Abs, width), size)
		w.compare(ir.Lt, width, size, operand(1), size)
		pick(width, w.VANDNPS, w.VANDNPD)(x, size, y)
	}},
}

// selectBy writes a comparison and a choice by it.
func selectBy(op ir.Op) func(w *writer, width int, x, y reg.VecVirtual, operand func(i int) Op) {
	return func(w *writer, width int, x, y reg.VecVirtual, operand func(i int) Op) {
		no := w.reg()
		w.move(width, operand(3), no)
		w.compare(op, width, x, operand(1), y)
		w.blend(width, y, operand(2), no, y)
	}
}

// single writes y = op(x, …) for an operation of package ir.
func (w *writer) single(op ir.Op, width int) func(x, y reg.VecVirtual, operand func(i int) Op) {
	_, compares := predicates[op]
	switch {
	case op == ir.Neg || op == ir.Abs || op == ir.Not:
		return func(x, y reg.VecVirtual, _ func(i int) Op) { w.number(op, width, x, w.bits(op, width), y) }
	case op == ir.Sqrt:
		return func(x, y reg.VecVirtual, _ func(i int) Op) { w.number(op, width, x, nil, y) }
	case compares:
		return func(x, y reg.VecVirtual, operand func(i int) Op) { w.compare(op, width, x, operand(1), y) }
	case op == ir.Select: // a is taken where c holds, else b
		return func(x, y reg.VecVirtual, operand func(i int) Op) {
			no, cond := w.reg(), w.reg()
			w.move(width, operand(1), no)
			w.move(width, operand(2), cond)
			w.blend(width, cond, x, no, y)
		}
	}
	return func(x, y reg.VecVirtual, operand func(i int) Op) { w.number(op, width, x, operand(1), y) }
}

// operation writes a loop. The first operand is loaded into a register, the others are memory.
func (w *writer) operation(name, doc string, width, arity int, write func(x, y reg.VecVirtual, operand func(i int) Op)) {
	w.function(name, "func(dst, a, b, c, d, next *byte, stepA, stepB, stepC, stepD, n int)", fmt.Sprintf("%s is %s of float%d.", name, doc, width))
	dst, next, n := w.Load(w.Param("dst"), w.GP64()), w.Load(w.Param("next"), w.GP64()), w.Load(w.Param("n"), w.GP64())
	var from, step []reg.Register
	for i := range arity {
		from = append(from, w.Load(w.Param(string(rune('a'+i))), w.GP64()))
		step = append(step, w.Load(w.Param("step"+string(rune('A'+i))), w.GP64()))
	}
	w.Label("loop")
	w.PREFETCHT1(Mem{Base: next, Disp: 2 * tile})
	x, y := w.reg(), w.reg()
	w.move(width, Mem{Base: from[0]}, x)
	write(x, y, func(i int) Op { return Mem{Base: from[i]} })
	w.move(width, y, Mem{Base: dst})
	w.ADDQ(Imm(vector), dst)
	w.ADDQ(Imm(vector), next)
	for i := range from {
		w.ADDQ(step[i], from[i])
	}
	w.SUBQ(Imm(vector), n)
	w.JNE(LabelRef("loop"))
	w.VZEROUPPER()
	w.RET()
}

// bits is a register with the bits that a sign operation needs: the sign, all but the sign, or all.
func (w *writer) bits(op ir.Op, width int) reg.VecVirtual {
	mask := w.reg()
	w.VPCMPEQD(mask, mask, mask)
	switch op {
	case ir.Neg:
		pick(width, func(o ...Op) { w.VPSLLD(o...) }, func(o ...Op) { w.VPSLLQ(o...) })(Imm(uint64(width-1)), mask, mask)
	case ir.Abs:
		pick(width, func(o ...Op) { w.VPSRLD(o...) }, func(o ...Op) { w.VPSRLQ(o...) })(Imm(1), mask, mask)
	}
	return mask
}
