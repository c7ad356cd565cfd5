package main

import (
	"fmt"

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
// they are as update writes them.
func (w *writer) traffics() {
	for read := 1; read <= maxRead; read++ {
		for written := 0; written <= maxWritten; written++ {
			name := w.trafficName(read, written)
			w.function(name, loopSignature, fmt.Sprintf("%s reads n bytes of %d slots, and reads and writes n bytes of %d more.", name, read, written))
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
