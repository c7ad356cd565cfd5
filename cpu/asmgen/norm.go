package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/fusestep/fusestep/kernels"
)

// norms writes the loops of the gradient norm, kernels.SumSquares.
func (w *writer) norms() {
	w.squares(4)
	w.squares(8)
	w.halve()
}

// squares adds whole rows of NormLanes elements into the lanes, as many lanes in a pass over the tile as half the registers hold.
// The tile stays in the first-level cache.
func (w *writer) squares(size int) {
	name := fmt.Sprintf("sumSquaresF%d%s", 8*size, w.name)
	w.function(name, "func(lanes *float64, x *byte, rows int)",
		fmt.Sprintf("%s sums the squares of float%d: rows of %d elements into as many lanes.", name, 8*size, kernels.NormLanes))
	lanes, x, rows := w.Load(w.Param("lanes"), w.GP64()), w.Load(w.Param("x"), w.GP64()), w.Load(w.Param("rows"), w.GP64())
	doubles := w.vector / 8
	passLanes := w.registers / 2 * doubles
	for pass := range kernels.NormLanes / passLanes {
		sum := make([]reg.VecVirtual, w.registers/2)
		for i := range sum {
			sum[i] = w.reg()
			w.VXORPD(sum[i], sum[i], sum[i])
		}
		from, left := w.GP64(), w.GP64()
		w.MOVQ(x, from)
		w.MOVQ(rows, left)
		label := fmt.Sprintf("pass%d", pass)
		w.Label(label)
		for i := range sum {
			v := w.reg()
			at := Mem{Base: from, Disp: (pass*passLanes + i*doubles) * size}
			if size == 4 {
				w.VCVTPS2PD(at, v)
			} else {
				w.VMOVUPD(at, v)
			}
			w.VMULPD(v, v, v)
			w.VADDPD(v, sum[i], sum[i])
		}
		w.ADDQ(U32(kernels.NormLanes*size), from)
		w.SUBQ(Imm(1), left)
		w.JNE(LabelRef(label))
		for i := range sum {
			w.VMOVUPD(sum[i], Mem{Base: lanes, Disp: (pass*passLanes + i*doubles) * 8})
		}
	}
	w.VZEROUPPER()
	w.RET()
}

// halve adds lanes w apart for w of 64, 32, 16, 8 and, where a vector is no wider, 4.
func (w *writer) halve() {
	name := "halve" + w.name
	doubles := w.vector / 8
	w.function(name, "func(lanes *float64)", fmt.Sprintf("%s adds lanes 64, 32, … and %d apart and leaves the first %d.", name, doubles, doubles))
	lanes := w.Load(w.Param("lanes"), w.GP64())
	for apart := kernels.NormLanes / 2; apart >= doubles; apart /= 2 {
		for l := 0; l < apart; l += doubles {
			v := w.reg()
			w.VMOVUPD(Mem{Base: lanes, Disp: l * 8}, v)
			w.VADDPD(Mem{Base: lanes, Disp: (l + apart) * 8}, v, v)
			w.VMOVUPD(v, Mem{Base: lanes, Disp: l * 8})
		}
	}
	w.VZEROUPPER()
	w.RET()
}
