package cpu

import (
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
)

// window is some elements of a tensor as numbers, by slot: the memory itself where a format is that, otherwise a copy. It is one thread's.
type window[F rule.Float] struct {
	program *kernels.Program
	domain  rule.Domain // of the pass: other slots it does not have
	n       int         // elements that it is open on
	loads   []bool      // of a plane: whether the pass reads it. Of a weight beside its master it reads the master alone.
	stores  []bool      // and whether it writes it
	slots   [][]F
	copies  [][]F // of the slots that memory holds otherwise; nil of the others
	size    int   // most elements at a time; 0: any

	planes [mostPlanes][]byte // of one slot

	draws format.Draws // of the window's elements; nil where nothing is noisy
	noise []uint32     // of one slot
}

// windowLen is the elements of a copy. All of a rule's fit into a first-level cache.
const windowLen = 512

func newWindow[F rule.Float](p *kernels.Program, q *kernels.Pass) *window[F] {
	w := &window[F]{program: p, domain: q.Domain, slots: make([][]F, len(p.Slots)), copies: make([][]F, len(p.Slots)), loads: make([]bool, len(p.Planes)),
		stores: make([]bool, len(p.Planes))}
	for _, k := range q.Loads {
		w.loads[k] = true
	}
	for _, k := range q.Stores {
		w.stores[k] = true
	}
	for i := range p.Slots {
		if p.Slots[i].Domain == q.Domain && !p.Slots[i].Format.Identity() {
			w.copies[i], w.size = make([]F, windowLen), windowLen
		}
	}
	if p.NumNoise() > 0 {
		w.draws, w.noise = make(format.Draws, windowLen), make([]uint32, windowLen)
	}
	return w
}

// each calls f with w.slots set to elements lo to hi of the tensor, as many as a window has at a time. Scalars are the group's.
func (w *window[F]) each(t *tensor, lo, hi int, scalars []F, f func()) {
	for at := lo; at < hi; {
		end := hi
		if w.size > 0 {
			end = min(hi, at+w.size)
		}
		w.open(t.planes, at, end)
		f()
		w.close(t, at, end, scalars[len(scalars)-w.program.NumNoise():])
		at = end
	}
}

func (w *window[F]) open(planes [][]byte, lo, hi int) {
	w.n = hi - lo
	for i := range w.program.Slots {
		s := &w.program.Slots[i]
		if s.Domain != w.domain {
			continue
		}
		if w.copies[i] == nil {
			w.slots[i] = as[F](planes[s.Plane])[lo:hi]
			continue
		}
		w.slots[i] = w.copies[i][:hi-lo]
		if slices.Contains(w.loads[s.Plane:][:s.Format.NumPlanes()], true) {
			format.Load(s.Format, w.slots[i], w.part(planes, s, lo, hi))
		}
	}
}

func (w *window[F]) close(t *tensor, lo, hi int, noise []F) {
	drawn := -1 // the slot that was drawn for
	for i := range w.program.Slots {
		s := &w.program.Slots[i]
		if w.copies[i] == nil || !w.stores[s.Plane] {
			continue
		}
		if s.Format.Noisy() {
			if drawn < 0 || !format.SameDraw(drawn, s.Index) {
				format.Draw(w.draws[:hi-lo], noise, s.Index, t.index+uint64(lo))
				drawn = s.Index
			}
			w.draws[:hi-lo].Of(s.Index, w.noise)
		}
		format.Store(s.Format, w.part(t.planes, s, lo, hi), w.slots[i], w.noise)
	}
}

// mostPlanes is more than a format has.
const mostPlanes = 4

// part is elements lo to hi of a slot's planes, until it is called again.
func (w *window[F]) part(planes [][]byte, s *kernels.Slot, lo, hi int) [][]byte {
	n := s.Format.NumPlanes()
	for k := range n {
		size := w.program.Planes[s.Plane+k].DType.Size()
		w.planes[k] = planes[s.Plane+k][lo*size : hi*size]
	}
	return w.planes[:n]
}
