package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The most slots that a traffic loop only reads, and that it reads and writes.
const (
	maxRead    = 2
	maxWritten = 5
)

// traffics writes the loops that load and store what an update does, and compute nothing: 1 to maxRead slots that are read,
// the gradient among them, and then up to maxWritten slots that are read and written back, or none as the norm does. Otherwise
// they are as package emit makes an update's.
func (w *writer) traffics() {
	for read := 1; read <= maxRead; read++ {
		for written := 0; written <= maxWritten; written++ {
			name := w.trafficName(read, written)
			w.function(name, "func(slots **byte, n, near, far int)", fmt.Sprintf("%s reads n bytes of %d slots, and reads and writes n bytes of %d more.", name, read, written))
			slots := w.pointers(read + written)
			w.loop(slots, func(at reg.Register) {
				for u := 0; u < round; u += w.vector {
					for i, p := range slots {
						v := w.reg()
						w.VMOVUPS(Mem{Base: p, Index: at, Scale: 1, Disp: u}, v)
						if i >= read {
							w.VMOVUPS(v, Mem{Base: p, Index: at, Scale: 1, Disp: u})
						}
					}
				}
			})
		}
	}
}

func (w *writer) trafficName(read, written int) string {
	return fmt.Sprintf("traffic%dRead%dWritten%s", read, written, w.name)
}

// function starts a function.
func (w *writer) function(name, signature, doc string) {
	w.Function(name)
	w.Attributes(attr.NOSPLIT)
	w.SignatureExpr(signature)
	w.Doc(doc)
}

// pointers loads n pointers of the parameter slots.
func (w *writer) pointers(n int) (out []reg.Register) {
	slots := w.Load(w.Param("slots"), w.GP64())
	for i := range n {
		out = append(out, w.GP64())
		w.MOVQ(Mem{Base: slots, Disp: 8 * i}, out[i])
	}
	return out
}

// loop writes a loop in rounds over the parameter n, prefetching each slot as far ahead as the parameters near and far say, and ends
// the function.
func (w *writer) loop(slots []reg.Register, body func(at reg.Register)) {
	n, at := w.Load(w.Param("n"), w.GP64()), w.GP64()
	near, far := w.Load(w.Param("near"), w.GP64()), w.Load(w.Param("far"), w.GP64())
	w.XORQ(at, at)
	w.Label("loop")
	body(at)
	for _, p := range []struct {
		ahead    reg.Register
		prefetch func(Op)
	}{{near, w.PREFETCHT0}, {far, w.PREFETCHT1}} {
		w.TESTQ(p.ahead, p.ahead)
		w.JEQ(LabelRef("next"))
		there := w.GP64()
		w.LEAQ(Mem{Base: at, Index: p.ahead, Scale: 1}, there)
		for _, slot := range slots {
			p.prefetch(Mem{Base: slot, Index: there, Scale: 1})
		}
	}
	w.Label("next")
	w.ADDQ(Imm(round), at)
	w.CMPQ(at, n)
	w.JNE(LabelRef("loop"))
	w.VZEROUPPER()
	w.RET()
}
