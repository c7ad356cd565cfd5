package main

import (
	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/fusestep/fusestep/kernels/ir"
)

const (
	set    = "AVX2"
	vector = 32      // bytes of a register
	tile   = 2 << 10 // bytes of cpu's tileBytes
)

// writer writes functions.
type writer struct{ *build.Context }

// function starts a function.
func (w *writer) function(name, signature, doc string) {
	w.Function(name)
	w.Attributes(attr.NOSPLIT)
	w.SignatureExpr(signature)
	w.Doc(doc)
}

// reg is a new vector register.
func (w *writer) reg() reg.VecVirtual { return w.YMM() }

// pick is an instruction on vectors of the width's numbers.
func pick(width int, ps, pd func(...Op)) func(...Op) {
	if width == 32 {
		return ps
	}
	return pd
}

func (w *writer) move(width int, from, to Op) { pick(width, w.VMOVUPS, w.VMOVUPD)(from, to) }

// Predicates of comparisons, quiet or not: no exceptions are looked at. All but ne are false for NaN.
var predicates = map[ir.Op]uint64{ir.Lt: 0x11, ir.Le: 0x12, ir.Eq: 0x00, ir.Ne: 0x04}

// number writes an operation whose result is a number, other than Select. Memory can only be the last operand.
func (w *writer) number(op ir.Op, width int, a reg.VecVirtual, b Op, dst reg.VecVirtual) {
	switch op {
	case ir.Add:
		pick(width, w.VADDPS, w.VADDPD)(b, a, dst)
	case ir.Sub:
		pick(width, w.VSUBPS, w.VSUBPD)(b, a, dst)
	case ir.Mul:
		pick(width, w.VMULPS, w.VMULPD)(b, a, dst)
	case ir.Div:
		pick(width, w.VDIVPS, w.VDIVPD)(b, a, dst)
	case ir.Sqrt:
		pick(width, w.VSQRTPS, w.VSQRTPD)(a, dst)
	case ir.Neg, ir.Not: // b is the mask
		pick(width, w.VXORPS, w.VXORPD)(b, a, dst)
	case ir.Abs, ir.And:
		pick(width, w.VANDPS, w.VANDPD)(b, a, dst)
	case ir.Or:
		pick(width, w.VORPS, w.VORPD)(b, a, dst)
	default:
		panic(op)
	}
}

// compare writes a comparison, whose result is all bits or none of each element.
func (w *writer) compare(op ir.Op, width int, a reg.VecVirtual, b, dst Op) {
	pick(width, w.VCMPPS, w.VCMPPD)(Imm(predicates[op]), b, a, dst)
}

// blend writes cond ? yes : no; yes may be memory.
func (w *writer) blend(width int, cond, yes Op, no reg.VecVirtual, dst reg.VecVirtual) {
	if width == 32 {
		w.VBLENDVPS(cond, yes, no, dst)
	} else {
		w.VBLENDVPD(cond, yes, no, dst)
	}
}
