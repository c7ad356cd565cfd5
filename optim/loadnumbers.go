package optim

import (
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
)

// chunk is the most elements that a load has in the host's memory at a time, of each plane.
const chunk = 1 << 20

// numbers writes all values and state.
func (l *loading) numbers(s *device.Stream) error {
	for _, x := range l.groups {
		for _, t := range x.tensors {
			if err := l.tensor(s, x, t); err != nil {
				return t.p.fail(err)
			}
		}
	}
	return nil
}

// tensor writes a tensor's value and state.
func (l *loading) tensor(s *device.Stream, x *groupLoad, t *tensorLoad) error {
	p := t.p
	switch {
	case t.value.to != nil:
		if err := l.convertValue(s, t); err != nil {
			return err
		}
	default:
		if t.value.value {
			if err := l.copy(s, t, ParamSlot, p.Value); err != nil {
				return err
			}
		}
		if t.value.beside {
			if err := l.copy(s, t, p.masterName, p.master); err != nil {
				return err
			}
		}
	}
	for _, slot := range t.slots {
		var err error
		switch {
		case slot.saved:
			err = l.copy(s, t, slot.name, p.slots[slot.k])
		default:
			err = l.startAgain(s, x, p, slot.k)
		}
		if err != nil {
			return err
		}
	}
	for _, state := range p.whole() {
		if err := l.copy(s, t.lines(state), state.name, state.b); err != nil {
			return err
		}
	}
	return nil
}

// startAgain makes state, which was not saved, what a new tensor's is.
func (l *loading) startAgain(s *device.Stream, x *groupLoad, p *param, k int) error {
	l.touched = true
	r := x.as.setting.Rule
	if k < len(r.Start) && r.Start[k] >= 0 {
		return fill(s, p.slots[k], x.as.setting.Hyper[r.Start[k]])
	}
	return s.Zero(p.slots[k])
}

// each calls f with what is to be written, piece by piece: n elements of a saved tensor from lo on, to the tensor's elements from at on.
func (t *tensorLoad) each(f func(from *TensorState, lo, n, at int) error) error {
	at := 0
	for _, from := range t.from {
		for lo := from.lo; lo < from.hi; lo += chunk {
			n := min(chunk, from.hi-lo)
			if err := f(from.t, lo, n, at); err != nil {
				return err
			}
			at += n
		}
	}
	return nil
}

// lines is what each writes of state that the tensor, or its rows or columns, have: the pieces' rows, or all there is.
func (t *tensorLoad) lines(s tensorState) *tensorLoad {
	out := &tensorLoad{p: t.p}
	for _, f := range t.from {
		lo, hi := 0, s.b.Len()
		if s.domain == rule.OfRows && hi > 0 {
			long := t.p.n / hi
			lo, hi = f.lo/long, f.hi/long
		}
		out.from = append(out.from, slice{f.savedTensor, lo, hi})
	}
	return out
}

// copy writes a slot, whose elements may be of another type.
func (l *loading) copy(s *device.Stream, t *tensorLoad, slot string, to *device.Buffer) error {
	err := t.each(func(from *TensorState, lo, n, at int) error {
		saved, _ := from.Slot(slot)
		return l.copyPart(s, saved, lo, n, to, at)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", slot, err)
	}
	return nil
}

// copyPart writes n elements from lo on, which may be of another type, to those from at on.
func (l *loading) copyPart(s *device.Stream, saved Numbers, lo, n int, to *device.Buffer, at int) error {
	l.buffer = slices.Grow(l.buffer[:0], n*saved.DType.Size())
	x := l.buffer[:n*saved.DType.Size()]
	if err := saved.Read(lo, x); err != nil {
		return err
	}
	if saved.DType != to.DType() {
		var err error
		if x, err = converted(x, saved.DType, to.DType()); err != nil {
			return err
		}
	}
	return l.write(s, to, at, x)
}

// write writes elements from one on, and waits.
func (l *loading) write(s *device.Stream, to *device.Buffer, at int, x []byte) error {
	part, err := to.Slice(at, at+len(x)/to.DType().Size())
	if err != nil {
		return err
	}
	l.touched = true
	if err := uploadBytes(s, part, x); err != nil {
		return err
	}
	return s.Synchronize()
}

// converted is elements as another type, by way of float32 where that holds either, to nearest even.
func converted(x []byte, from, to device.DType) ([]byte, error) {
	compute := device.Float32
	if from == device.Float64 || to == device.Float64 {
		compute = device.Float64
	}
	f, err := format.Plain(from, compute)
	if err != nil {
		return nil, err
	}
	numbers := numbersOf(f, [][]byte{x}, len(x)/from.Size())
	out := make([]byte, len(numbers)*to.Size())
	if to == device.Float64 {
		copy(out, memoryOf(numbers))
		return out, nil
	}
	g, err := format.Plain(to, device.Float32)
	if err == nil {
		encode(g, [][]byte{out}, numbers)
	}
	return out, err
}

// numbersOf decodes elements.
func numbersOf(f *format.Format, planes [][]byte, n int) []float64 {
	out := make([]float64, n)
	if f.Compute() == device.Float64 {
		format.Load(f, out, planes)
		return out
	}
	x := make([]float32, n)
	format.Load(f, x, planes)
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// encode encodes numbers, which are first rounded to the type that the format is calculated with.
func encode(f *format.Format, planes [][]byte, x []float64) {
	if f.Compute() == device.Float64 {
		format.Store(f, planes, x, nil)
		return
	}
	narrow := make([]float32, len(x))
	for i, v := range x {
		narrow[i] = float32(v)
	}
	format.Store(f, planes, narrow, nil)
}

// convertValue writes a value and what stands beside it from the numbers that those which were saved hold.
func (l *loading) convertValue(s *device.Stream, t *tensorLoad) error {
	p, slots := t.p, t.p.group.slots()
	return t.each(func(from *TensorState, lo, n, at int) error {
		f, err := savedFormat(from, slots)
		if err != nil {
			return err
		}
		var planes [][]byte
		for _, slot := range []string{ParamSlot, besideName(from, slots)} {
			saved, ok := from.Slot(slot)
			if !ok {
				continue
			}
			x := make([]byte, n*saved.DType.Size())
			if err := saved.Read(lo, x); err != nil {
				return fmt.Errorf("%s: %w", slot, err)
			}
			planes = append(planes, x)
		}
		numbers := numbersOf(f, planes, n)
		planes = nil
		for _, plane := range t.value.to.Planes() {
			planes = append(planes, make([]byte, n*plane.DType.Size()))
		}
		encode(t.value.to, planes, numbers)
		if t.value.value {
			if err := l.write(s, p.Value, at, planes[0]); err != nil {
				return err
			}
		}
		if t.value.beside {
			return l.write(s, p.master, at, planes[1])
		}
		return nil
	})
}
