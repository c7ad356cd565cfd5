package optim

import (
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
)

// AdoptValues makes masters follow values that the caller has written to, between steps: of the named tensors, of all if none is named.
// Where an element's master rounds to the value's bits, it stays, and any other becomes the value itself. Before a tensor's first step, the
// step does this. A remainder says no more than where between its neighbours a number lies, so it stays beside most values, and the number
// is then within half a unit in the last place of what was written: to train on with exactly that, set the remainder of State to 0 first.
// Without AdoptValues a remainder beside a zero or an infinity that was written may stand for a NaN. Tensors without a master are passed over.
//
// AdoptValues waits for the stream, nil for the device's default one, and brings values and masters to the host and back.
func (o *Optimizer) AdoptValues(s *device.Stream, tensors ...string) error {
	s, err := o.use("adopt values", s)
	if err != nil {
		return err
	}
	params := o.where(func(*param) bool { return len(tensors) == 0 })
	for _, name := range tensors {
		p, err := o.tensor("adopt values", name)
		if err != nil {
			return err
		}
		params = append(params, p)
	}
	for _, p := range params {
		if err := p.adopt(s); err != nil {
			return err
		}
	}
	return nil
}

// adoptFirst is adopt of tensors that have not taken a step: their values may have been written after the optimizer was made, and their
// masters by a training that goes on.
func (q *part) adoptFirst(s *device.Stream) error {
	for _, p := range q.mastered() {
		if p.adopted {
			continue
		}
		if err := p.adopt(s); err != nil {
			return err
		}
	}
	return nil
}

// mastered are the part's tensors if they have masters, as all or none have.
func (q *part) mastered() []*param {
	if len(q.params) == 0 || q.params[0].master == nil {
		return nil
	}
	return q.params
}

// adopt is AdoptValues of the tensor.
func (p *param) adopt(s *device.Stream) (err error) {
	switch p.master.DType() {
	case device.Float32:
		err = adopt[float32](s, p)
	case device.Int16:
		err = adopt[int16](s, p)
	case device.Int8:
		err = adopt[int8](s, p)
	}
	if err != nil {
		return p.errorf("state %s: %w", p.masterName, err)
	}
	return nil
}

// adopt is param.adopt for a master, or a remainder, of type E. It goes block by block.
func adopt[E device.Element](s *device.Stream, p *param) error {
	program := p.part.program
	f := program.Slots[program.Slot(rule.Param)].Format
	value, err := format.Plain(p.Value.DType(), f.Compute())
	if err != nil {
		return err
	}
	n := min(block, p.Value.Len())
	weights, again, beside := make([]uint16, n), make([]uint16, n), make([]E, n)
	numbers, values := make([]float32, n), make([]float32, n)
	for lo := 0; lo < p.Value.Len(); lo += block {
		n := min(block, p.Value.Len()-lo)
		w, m, x := weights[:n], beside[:n], numbers[:n]
		if err := downloadPart(s, w, p.Value, lo); err != nil {
			return err
		}
		if err := downloadPart(s, m, p.master, lo); err != nil {
			return err
		}
		format.Load(f, x, [][]byte{memoryOf(w), memoryOf(m)})
		format.Load(value, values[:n], [][]byte{memoryOf(w)})
		format.Store(f, [][]byte{memoryOf(again), memoryOf(m)}, x, nil)
		same := true
		for i := range w {
			if again[i] != w[i] {
				x[i], same = values[i], false
			}
		}
		if same {
			continue
		}
		format.Store(f, [][]byte{memoryOf(again), memoryOf(m)}, x, nil)
		to, err := p.master.Slice(lo, lo+n)
		if err == nil {
			err = device.Upload(s, to, m)
		}
		if err == nil {
			err = s.Synchronize()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// downloadPart waits for elements of a buffer from lo on.
func downloadPart[E device.Element](s *device.Stream, to []E, b *device.Buffer, lo int) error {
	part, err := b.Slice(lo, lo+len(to))
	if err != nil {
		return err
	}
	if err := device.Download(s, to, part); err != nil {
		return err
	}
	return s.Synchronize()
}

// memoryOf is a slice as a format's plane.
func memoryOf[E device.Element](x []E) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(x[0])))
}
