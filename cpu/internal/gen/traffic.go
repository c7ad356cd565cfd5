package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// maxStored is the most slots that a traffic loop stores.
const maxStored = 5

// traffics writes the loops that load and store what an update does, and compute nothing: one slot that is read, the
// gradient, and then 1 to maxStored slots that are read and written back. Otherwise they are as updateLoop writes them.
func traffics() {
	for stored := 1; stored <= maxStored; stored++ {
		name := fmt.Sprintf("traffic%dAVX2", stored)
		TEXT(name, NOSPLIT, "func(slots **byte, uniforms *byte, n int)")
		Doc(fmt.Sprintf("%s reads n bytes of one slot, and reads and writes n bytes of %d more.", name, stored))
		slots := Load(Param("slots"), GP64())
		var pointers []reg.Register
		for i := range stored + 1 {
			p := GP64()
			MOVQ(Mem{Base: slots, Disp: 8 * i}, p)
			pointers = append(pointers, p)
		}
		n := Load(Param("n"), GP64())
		at := GP64()
		XORQ(at, at)
		Label("loop")
		for _, p := range pointers {
			PREFETCHT0(Mem{Base: p, Index: at, Scale: 1, Disp: prefetch})
		}
		for u := range unroll {
			for i, p := range pointers {
				v := YMM()
				VMOVUPS(Mem{Base: p, Index: at, Scale: 1, Disp: u * vector}, v)
				if i > 0 {
					VMOVUPS(v, Mem{Base: p, Index: at, Scale: 1, Disp: u * vector})
				}
			}
		}
		ADDQ(Imm(unroll*vector), at)
		CMPQ(at, n)
		JNE(LabelRef("loop"))
		VZEROUPPER()
		RET()
	}
}
