package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/fusestep/fusestep/kernels"
)

const (
	doubles   = vector / 8 // of a register
	registers = 8          // accumulators of one pass
	passLanes = registers * doubles
)

// norms writes the loops of the gradient norm, kernels.SumSquares.
func norms() {
	squares("sumSquaresF32AVX2", 4)
	squares("sumSquaresF64AVX2", 8)
	halve()
}

// squares adds whole rows of NormLanes elements into the lanes, NormLanes/passLanes passes over the tile, which stays in the
// first-level cache.
func squares(name string, size int) {
	TEXT(name, NOSPLIT, "func(lanes *float64, x *byte, rows int)")
	Doc(fmt.Sprintf("%s sums the squares of float%d: rows of %d elements into as many lanes.", name, 8*size, kernels.NormLanes))
	lanes, x, rows := Load(Param("lanes"), GP64()), Load(Param("x"), GP64()), Load(Param("rows"), GP64())
	for pass := range kernels.NormLanes / passLanes {
		var sum [registers]reg.VecVirtual
		for i := range sum {
			sum[i] = YMM()
			VXORPD(sum[i], sum[i], sum[i])
		}
		from, left := GP64(), GP64()
		MOVQ(x, from)
		MOVQ(rows, left)
		label := fmt.Sprintf("pass%d", pass)
		Label(label)
		for i := range sum {
			v := YMM()
			at := Mem{Base: from, Disp: (pass*passLanes + i*doubles) * size}
			if size == 4 {
				VCVTPS2PD(at, v)
			} else {
				VMOVUPD(at, v)
			}
			VMULPD(v, v, v)
			VADDPD(v, sum[i], sum[i])
		}
		ADDQ(U32(kernels.NormLanes*size), from)
		SUBQ(Imm(1), left)
		JNE(LabelRef(label))
		for i := range sum {
			VMOVUPD(sum[i], Mem{Base: lanes, Disp: (pass*passLanes + i*doubles) * 8})
		}
	}
	VZEROUPPER()
	RET()
}

// halve adds lanes w apart for w of 64, 32, 16, 8 and 4, and leaves four.
func halve() {
	TEXT("halveAVX2", NOSPLIT, "func(lanes *float64)")
	Doc("halveAVX2 adds lanes 64, 32, 16, 8 and 4 apart and leaves the first four.")
	lanes := Load(Param("lanes"), GP64())
	for w := kernels.NormLanes / 2; w >= doubles; w /= 2 {
		for l := 0; l < w; l += doubles {
			v := YMM()
			VMOVUPD(Mem{Base: lanes, Disp: l * 8}, v)
			VADDPD(Mem{Base: lanes, Disp: (l + w) * 8}, v, v)
			VMOVUPD(v, Mem{Base: lanes, Disp: l * 8})
		}
	}
	VZEROUPPER()
	RET()
}
