package optim

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
)

// tensorLoad is a tensor and what it is to be.
type tensorLoad struct {
	p               *param
	from            []slice
	counters        []float64
	filled          Named // nil: the tensor has taken a step, or nobody says
	summed, adopted bool
	slots           []slotLoad
	value           valueLoad
}

// slice is elements of a tensor that was saved.
type slice struct {
	*savedTensor
	lo, hi int
}

// slotLoad is state, by its index in the group's slots.
type slotLoad struct {
	k     int
	name  string
	dtype device.DType // here
	saved bool         // otherwise it starts again
}

// valueLoad is what is done to a value and to what stands beside it.
type valueLoad struct {
	value, beside bool           // copied
	to            *format.Format // not nil: numbers are decoded and encoded to it instead
}

// tensors finds what all tensors are to be.
func (l *loading) tensors() {
	for name := range l.how.Pieces {
		if l.o.names[name] == nil {
			l.add(Mismatch{Group: -1, Tensor: name, What: MismatchPiece, Here: "no such tensor"})
		}
	}
	restored := map[string][]float64{}
	fitting := map[[2]int]bool{}
	for _, x := range l.groups {
		if x.saved == nil && !l.how.Regroup {
			continue
		}
		l.ordered(x)
		for _, p := range x.g.params {
			t := &tensorLoad{p: p}
			n := len(l.mismatches)
			if !l.source(t) {
				continue
			}
			fits := x.fits
			for _, f := range t.from {
				pair := [2]int{f.g.Index, x.g.index}
				if l.how.Regroup {
					if _, done := fitting[pair]; !done {
						fitting[pair] = l.fits(f.g, x.g)
					}
					fits = fits && fitting[pair]
				} else if pair[0] != pair[1] {
					l.add(Mismatch{Group: x.g.index, Tensor: p.Name, What: MismatchGroup, Saved: fmt.Sprint(f.g.Index), Here: fmt.Sprint(x.g.index)})
				}
			}
			if fits && len(l.mismatches) == n {
				l.history(t, x, restored)
				l.state(t, x)
			}
			x.tensors = append(x.tensors, t)
		}
	}
	for g, t := range l.d.Tensors() {
		if !l.saved[t.Name].used && (l.how.Regroup || l.o.here(g.Index)) {
			l.add(Mismatch{Group: g.Index, Tensor: t.Name, What: Unexpected, Saved: fmt.Sprintf("%v", t.Shape)})
		}
	}
}

// here says whether there is a group.
func (o *Optimizer) here(index int) bool { return index < len(o.groups) && o.groups[index] != nil }

// source finds what a tensor is made of.
func (l *loading) source(t *tensorLoad) bool {
	p := t.p
	m := Mismatch{Group: p.group.index, Tensor: p.Name}
	pieces, ok := l.how.Pieces[p.Name]
	if !ok {
		s := l.saved[p.Name]
		if s == nil {
			m.What, m.Here = Missing, fmt.Sprintf("%d elements", p.Value.Len())
			l.add(m)
			return false
		}
		s.used = true
		if n, _ := s.t.len(); n != p.Value.Len() {
			m.What, m.Saved, m.Here = MismatchShape, fmt.Sprint(s.t.Shape), fmt.Sprintf("%d elements", p.Value.Len())
			l.add(m)
			return false
		}
		t.from = []slice{{s, 0, p.Value.Len()}}
		return true
	}
	n, good := 0, true
	for _, piece := range pieces {
		m.What, m.Saved = MismatchPiece, fmt.Sprintf("%q from %d to %d", piece.Tensor, piece.From, piece.To)
		s := l.saved[piece.Tensor]
		if s == nil {
			m.Here = "of a tensor that was not saved"
			l.add(m)
			good = false
			continue
		}
		s.used = true
		if has, _ := s.t.len(); piece.From < 0 || piece.To < piece.From || piece.To > has {
			m.Here = fmt.Sprintf("of a tensor of %d elements", has)
			l.add(m)
			good = false
			continue
		}
		n += piece.To - piece.From
		t.from = append(t.from, slice{s, piece.From, piece.To})
	}
	if good && n != p.Value.Len() || len(pieces) == 0 {
		m.What, m.Saved, m.Here = MismatchPiece, fmt.Sprintf("pieces of %d elements together", n), fmt.Sprintf("%d elements", p.Value.Len())
		l.add(m)
		good = false
	}
	return good
}

// history finds what a tensor knows of its steps.
func (l *loading) history(t *tensorLoad, x *groupLoad, restored map[string][]float64) {
	m := Mismatch{Group: x.g.index, Tensor: t.p.Name, What: MismatchCounter}
	first := t.from[0]
	t.filled, t.summed, t.adopted = first.t.Filled, first.t.Summed, !l.how.WithoutValues
	for _, f := range t.from {
		for _, name := range union(first.t.Counters, f.t.Counters) {
			a, ok := first.t.Counters[name]
			b, also := f.t.Counters[name]
			if ok != also || !sameFloat(a, b) {
				m.Saved, m.Here = fmt.Sprintf("%s %s of %q, %s of %q", name, value(a, ok), first.t.Name, value(b, also), f.t.Name), "one tensor"
				l.add(m)
				return
			}
		}
		if f.t.Summed != t.summed {
			m.Saved, m.Here = fmt.Sprintf("%q and %q, of which only one is accumulated", first.t.Name, f.t.Name), "one tensor"
			l.add(m)
			return
		}
		t.adopted = t.adopted && f.t.Adopted
	}
	if t.summed && (l.d.Around == nil || l.d.Around.Accumulated == 0) {
		m.What, m.Saved = MismatchInvalid, "gradients of the tensor are accumulated, and none are"
		l.add(m)
	}
	known := first.t.Counters
	counters := t.p.part.program.Counters
	if first.g.Setting == nil && !slices.ContainsFunc(counters, func(c rule.Counter) bool { return c.Name == rule.StepCounter }) {
		known = Named{} // who counts for every rule
	}
	if n := known[rule.StepCounter]; n > float64(l.d.Steps) {
		m.Saved, m.Here = fmt.Sprintf("%s %v", rule.StepCounter, n), fmt.Sprintf("at most the optimizer's %d steps", l.d.Steps)
		l.add(m)
		return
	}
	key := fmt.Sprintf("%d %p %v", x.g.index, t.p.part.program, known)
	if t.counters = restored[key]; t.counters != nil {
		return
	}
	got, err := x.as.restore(counters, known)
	if err != nil {
		m.Saved, m.Here = fmt.Sprint(known), err.Error()
		l.add(m)
		return
	}
	t.counters = append([]float64{}, got...)
	restored[key] = t.counters
}

// state finds what a tensor's value and state are to be.
func (l *loading) state(t *tensorLoad, x *groupLoad) {
	p, names := t.p, x.as.slots()
	program, err := kernels.New(p.spec(x.as.setting))
	if err != nil {
		l.add(Mismatch{Group: x.g.index, Tensor: p.Name, What: MismatchOption, Here: err.Error()})
		return
	}
	spec := program.Spec
	formats, err := format.ParseSpec(spec.Formats, spec.SlotNames(), spec.Compute)
	if err != nil {
		l.add(Mismatch{Group: x.g.index, Tensor: p.Name, What: MismatchOption, Here: err.Error()})
		return
	}
	l.valueState(t, formats[slices.Index(spec.SlotNames(), rule.Param)])
	beside := besideName(t.from[0].t, names)
	needed := make([]bool, len(names))
	for i, plane := range program.Planes {
		if owned(program, i) && plane.Name == "" && plane.Domain == rule.OfElements {
			needed[program.Of(i).Index] = true
		}
	}
	needed[len(names)-1] = t.summed
	for k, name := range names {
		if name == rule.Param || name == rule.Grad {
			continue
		}
		s := slotLoad{k: k, name: name, dtype: spec.Compute}
		if k < len(formats) {
			s.dtype = formats[k].Planes()[0].DType
		}
		m := Mismatch{Group: x.g.index, Tensor: p.Name, Slot: name}
		has := 0
		for _, f := range t.from {
			n, ok := f.t.Slot(name)
			if !ok {
				continue
			}
			has++
			if elements, _ := f.t.len(); n.Len != elements {
				m.What, m.Saved, m.Here = MismatchShape, amount(n.Len), fmt.Sprintf("%d elements", elements)
				l.add(m)
			}
			l.sameType(m, n.DType, s.dtype)
		}
		switch s.saved = has == len(t.from); {
		case !s.saved && (needed[k] || has > 0):
			m.What, m.Here = Missing, s.dtype.String()
			l.add(m)
		case s.saved || p.slots[k] != nil:
			t.slots = append(t.slots, s)
		}
	}
	for _, s := range p.whole() {
		l.wholeState(t, s)
		names = append(names, s.name)
	}
	for _, f := range t.from {
		for _, n := range f.t.Numbers {
			if n.Slot != ParamSlot && n.Slot != beside && !slices.Contains(names, n.Slot) {
				l.add(Mismatch{Group: x.g.index, Tensor: p.Name, Slot: n.Slot, What: Unexpected, Saved: n.DType.String()})
			}
		}
	}
}

// sameType notes state of another type than it has here, if it cannot be converted.
func (l *loading) sameType(m Mismatch, saved, here device.DType) {
	if saved != here && !(l.how.Convert && floating(saved) && floating(here)) {
		m.What, m.Saved, m.Here = MismatchType, saved.String(), here.String()
		l.add(m)
	}
}

// amount is so many numbers.
func amount(n int) string {
	if n == 1 {
		return "one number"
	}
	return fmt.Sprintf("%d numbers", n)
}

// wholeState finds what rows, columns or the tensor itself are to have: what the tensor had that was saved, all of which must be here, or what the
// rows of pieces had.
func (l *loading) wholeState(t *tensorLoad, s tensorState) {
	m := Mismatch{Group: t.p.group.index, Tensor: t.p.Name, Slot: s.name}
	for _, f := range t.from {
		elements, _ := f.t.len()
		if pieces := len(t.from) > 1 || f.hi-f.lo != elements; pieces && s.domain == rule.OfRows {
			l.rowsOf(m, t.p, s, f, elements)
			continue
		} else if pieces {
			m.What, m.Saved, m.Here = MismatchPiece, fmt.Sprintf("of all of %q", f.t.Name), "of pieces"
			l.add(m)
			return
		}
		n, ok := f.t.Slot(s.name)
		switch {
		case !ok:
			m.What, m.Here = Missing, amount(s.b.Len())
			l.add(m)
		case n.Len != s.b.Len():
			m.What, m.Saved, m.Here = MismatchShape, fmt.Sprintf("%d elements", n.Len), amount(s.b.Len())
			l.add(m)
		default:
			l.sameType(m, n.DType, s.b.DType())
			if x, err := n.number(); err == nil && s.name == meanOfSquares && !(x >= 0) { // what cannot be read is the load's error
				m.What, m.Saved, m.Here = MismatchInvalid, fmt.Sprint(x), "0 or more"
				l.add(m)
			} else if err == nil && s.domain == rule.OfTensor && t.p.group.setting.Rule.Everything {
				if y, ok := l.together[s.name]; ok && !sameFloat(x, y) {
					m.What, m.Saved, m.Here = MismatchInvalid, fmt.Sprintf("%v, of a tensor before it %v", x, y), "one number of all tensors"
					l.add(m)
				}
				l.together[s.name] = x
			}
		}
	}
}

// rowsOf finds whether a piece is of whole rows that are as long as they are here.
func (l *loading) rowsOf(m Mismatch, p *param, s tensorState, f slice, elements int) {
	n, ok := f.t.Slot(s.name)
	long := p.n / max(p.rows, 1)
	switch {
	case f.lo == f.hi:
		return
	case !ok:
		m.What, m.Here = Missing, amount(s.b.Len())
	case n.Len*long != elements:
		m.What, m.Saved, m.Here = MismatchShape, fmt.Sprintf("%d rows of %d elements", n.Len, elements), fmt.Sprintf("rows of %d", long)
	case f.lo%long != 0 || f.hi%long != 0:
		m.What, m.Saved, m.Here = MismatchPiece, fmt.Sprintf("%q from %d to %d", f.t.Name, f.lo, f.hi), fmt.Sprintf("whole rows of %d", long)
	default:
		l.sameType(m, n.DType, s.b.DType())
		return
	}
	l.add(m)
}

// meanOfSquares is PyTorch's name for it, which a tensor's number of that name is.
const meanOfSquares = "exp_avg_sq"

// number is the first of the numbers.
func (n Numbers) number() (float64, error) {
	x := make([]byte, n.DType.Size())
	if err := n.Read(0, x); err != nil {
		return 0, err
	}
	x, err := converted(x, n.DType, device.Float64)
	if err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.NativeEndian.Uint64(x)), nil
}
