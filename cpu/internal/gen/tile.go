package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/fusestep/fusestep/kernels/ir"
)

// operations writes a loop for each operation of package ir at each width. All have one signature: n bytes, a multiple of
// vector, of dst from a, b and c, each of which advances by its step, which is vector, or 0 for an operand that is one vector
// for all elements.
func operations() {
	for op := ir.Add; op <= ir.Select; op++ {
		for _, width := range []int{32, 64} {
			operation(op, width)
		}
	}
}

// operationName is such as addF32AVX2.
func operationName(op ir.Op, width int) string { return fmt.Sprintf("%sF%dAVX2", op, width) }

func operation(op ir.Op, width int) {
	name := operationName(op, width)
	TEXT(name, NOSPLIT, "func(dst, a, b, c *byte, stepA, stepB, stepC, n int)")
	Doc(fmt.Sprintf("%s is ir's %s of float%d.", name, op, width))
	dst, n := Load(Param("dst"), GP64()), Load(Param("n"), GP64())
	var from, step []reg.Register
	for i := range op.Arity() {
		from = append(from, Load(Param(string(rune('a'+i))), GP64()))
		step = append(step, Load(Param("step"+string(rune('A'+i))), GP64()))
	}
	var mask reg.VecVirtual
	switch op {
	case ir.Neg, ir.Abs, ir.Not:
		mask = YMM()
		VPCMPEQD(mask, mask, mask)
		switch {
		case op == ir.Neg && width == 32:
			VPSLLD(Imm(31), mask, mask)
		case op == ir.Neg:
			VPSLLQ(Imm(63), mask, mask)
		case op == ir.Abs && width == 32:
			VPSRLD(Imm(1), mask, mask)
		case op == ir.Abs:
			VPSRLQ(Imm(1), mask, mask)
		}
	}
	Label("loop")
	x, y := YMM(), YMM()
	mem := func(i int) Op { return Mem{Base: from[i]} }
	pick := func(ps, pd func(...Op)) func(...Op) {
		if width == 32 {
			return ps
		}
		return pd
	}
	pick(VMOVUPS, VMOVUPD)(mem(0), x)
	compare := func(predicate uint64) { pick(VCMPPS, VCMPPD)(Imm(predicate), mem(1), x, y) }
	switch op {
	case ir.Add:
		pick(VADDPS, VADDPD)(mem(1), x, y)
	case ir.Sub:
		pick(VSUBPS, VSUBPD)(mem(1), x, y)
	case ir.Mul:
		pick(VMULPS, VMULPD)(mem(1), x, y)
	case ir.Div:
		pick(VDIVPS, VDIVPD)(mem(1), x, y)
	case ir.Sqrt:
		pick(VSQRTPS, VSQRTPD)(x, y)
	case ir.Neg, ir.Not:
		pick(VXORPS, VXORPD)(mask, x, y)
	case ir.Abs:
		pick(VANDPS, VANDPD)(mask, x, y)
	case ir.Lt:
		compare(0x11)
	case ir.Le:
		compare(0x12)
	case ir.Eq:
		compare(0x00)
	case ir.Ne:
		compare(0x04)
	case ir.And:
		pick(VANDPS, VANDPD)(mem(1), x, y)
	case ir.Or:
		pick(VORPS, VORPD)(mem(1), x, y)
	case ir.Select: // a is taken where c holds, else b
		no, cond := YMM(), YMM()
		pick(VMOVUPS, VMOVUPD)(mem(1), no)
		pick(VMOVUPS, VMOVUPD)(mem(2), cond)
		if width == 32 {
			VBLENDVPS(cond, x, no, y)
		} else {
			VBLENDVPD(cond, x, no, y)
		}
	}
	pick(VMOVUPS, VMOVUPD)(y, Mem{Base: dst})
	ADDQ(Imm(vector), dst)
	for i := range from {
		ADDQ(step[i], from[i])
	}
	SUBQ(Imm(vector), n)
	JNE(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
