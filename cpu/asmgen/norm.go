package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"

	"github.com/fusestep/fusestep/kernels"
)

// squares writes the loop of the gradient norm, of kernels.SumSquares: rows of NormLanes elements into as many lanes in memory.
func (w *writer) squares(size int) {
	const bytes = 8 // of a lane
	w.function(squaresName(size), "func(lanes *float64, x *byte, rows int)",
		fmt.Sprintf("%s adds the squares of float%d: rows of %d elements to as many lanes.", squaresName(size), 8*size, kernels.NormLanes))
	lanes, x, rows := w.Load(w.Param("lanes"), w.GP64()), w.Load(w.Param("x"), w.GP64()), w.Load(w.Param("rows"), w.GP64())
	lane := w.GP64()
	w.Label("row")
	w.XORQ(lane, lane)
	w.Label("lane")
	for i := 0; i < 4*vector/bytes; i += vector / bytes {
		v := w.reg()
		from, to := Mem{Base: x, Index: lane, Scale: uint8(size), Disp: i * size}, Mem{Base: lanes, Index: lane, Scale: bytes, Disp: i * bytes}
		if size == 4 {
			w.VCVTPS2PD(from, v)
		} else {
			w.VMOVUPD(from, v)
		}
		w.VMULPD(v, v, v)
		w.VADDPD(to, v, v)
		w.VMOVUPD(v, to)
	}
	w.ADDQ(Imm(4*vector/bytes), lane)
	w.CMPQ(lane, U32(kernels.NormLanes))
	w.JNE(LabelRef("lane"))
	w.ADDQ(U32(kernels.NormLanes*size), x)
	w.SUBQ(Imm(1), rows)
	w.JNE(LabelRef("row"))
	w.VZEROUPPER()
	w.RET()
}

func squaresName(size int) string { return fmt.Sprintf("squaresF%d%s", 8*size, set) }
