package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/fusestep/fusestep/kernels/ir"
)

// isa is an instruction set with its vectors.
type isa struct {
	name      string
	vector    int // bytes of a register
	registers int
	wide      bool // AVX-512: comparisons write mask registers
}

// isas are those that loops are written for. Both take a cache line a round.
var isas = []isa{{"AVX2", 32, 16, false}, {"AVX512", 64, 32, true}}

const round = 64 // bytes of a traffic loop

const tile = 2 << 10 // bytes of cpu's tileBytes

// writer writes functions for an instruction set.
type writer struct {
	*build.Context
	isa
}

// reg is a new vector register.
func (w *writer) reg() reg.VecVirtual {
	if w.wide {
		return w.ZMM()
	}
	return w.YMM()
}

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

// compare writes a comparison, whose result is all bits or none of each element, or a bit of a mask register.
func (w *writer) compare(op ir.Op, width int, a reg.VecVirtual, b, dst Op) {
	pick(width, w.VCMPPS, w.VCMPPD)(Imm(predicates[op]), b, a, dst)
}

// toMask makes a mask register of a vector of truth values, and fromMask the reverse.
func (w *writer) toMask(width int, v, k Op) {
	if width == 32 {
		w.VPMOVD2M(v, k)
	} else {
		w.VPMOVQ2M(v, k)
	}
}

func (w *writer) fromMask(width int, k, v Op) {
	if width == 32 {
		w.VPMOVM2D(k, v)
	} else {
		w.VPMOVM2Q(k, v)
	}
}

// blend writes cond ? yes : no. The condition is a mask register in AVX-512 and a vector in AVX2; yes may be memory.
func (w *writer) blend(width int, cond, yes Op, no reg.VecVirtual, dst reg.VecVirtual) {
	if w.wide {
		pick(width, w.VBLENDMPS, w.VBLENDMPD)(yes, no, cond, dst)
	} else if width == 32 {
		w.VBLENDVPS(cond, yes, no, dst)
	} else {
		w.VBLENDVPD(cond, yes, no, dst)
	}
}
