package optim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// arena is one plane of state of tensors that were added together, so that ten thousand small tensors are not ten thousand
// allocations. It is freed with the last of them.
type arena struct {
	buffer  *device.Buffer
	tensors int
}

// stateAlign is the bytes to which a tensor's state is aligned, a GPU's line; off by as many elements as the tensor's value is, since
// a step can use vectors only where all of a tensor's buffers are equally many elements from one. A vector is at most a line of the smallest
// elements.
const stateAlign = 128

// A large buffer begins where the device's memory has a round address, so a tensor's slots would all begin at the same place in every
// power of two, and meet in one channel of the memory or in one set of a cache. So the state of slot k begins k+1 times staggerLines later,
// where it is at least staggerFrom elements.
const (
	staggerLines = 33
	staggerFrom  = 1 << 18
)

// stagger is by how many elements the state of a slot is shifted, in a buffer of n elements beside that: a multiple of a line.
func stagger(slot, n, line int) int {
	if n < staggerFrom {
		return 0
	}
	return (slot + 1) * staggerLines * line
}

// lineOf is a line of a program's planes: in elements, of the smallest of them.
func lineOf(program *kernels.Program) (line int) {
	for _, plane := range program.Planes {
		line = max(line, stateAlign/plane.DType.Size())
	}
	return line
}

// behind is where a tensor's state begins in a buffer whose first n elements are taken, if its value begins so many elements from a line.
func behind(n, off, line int) int { return (n+line-1)/line*line + off }

// places are the offsets of the tensors' state in a buffer for all of them, how long that is, and a line, in elements of whatever size.
func (q *part) places(program *kernels.Program) (offsets []int, n, line int) {
	line = lineOf(program)
	for _, p := range q.params {
		n = behind(n, int(p.Value.Addr()/uint64(p.Value.DType().Size()))%line, line)
		offsets = append(offsets, n)
		n += p.Value.Len()
	}
	return offsets, n, line
}

// allocate gives the part's tensors the state that a program uses and they lack. It starts at zero, or as the hyperparameter
// that the rule says.
func (q *part) allocate(dev *device.Device, program *kernels.Program, setting rule.Setting) error {
	if err := q.allocateTensorSums(dev, program); err != nil {
		return err
	}
	r := program.Rule
	offsets, n, line := q.places(program)
	s := dev.DefaultStream()
	for i, plane := range program.Planes {
		k, name := program.Of(i).Index, program.PlaneName(i)
		if !owned(program, i) || !slices.ContainsFunc(q.params, func(p *param) bool { return *p.plane(program, i) == nil }) {
			continue
		}
		buffer, err := q.place(dev, plane.DType, offsets, stagger(k, n, line), n, func(p *param) **device.Buffer {
			if plane.Name != "" {
				p.masterName = name
			}
			return p.plane(program, i)
		})
		if err != nil {
			return fmt.Errorf("state %s: %w", name, err)
		}
		if k < len(r.Start) && r.Start[k] >= 0 && setting.Hyper[r.Start[k]] != 0 {
			q.filled[k] = setting.Hyper[r.Start[k]]
			err = fill(s, buffer, q.filled[k])
		} else {
			err = s.Zero(buffer)
		}
		if err != nil {
			return fmt.Errorf("state %s: %w", name, err)
		}
	}
	return s.Synchronize()
}

// place gives each of the part's tensors that lacks it a state, in one buffer of n elements for all of them, of which the first shift are
// nobody's. At is where a tensor has it. Some lack it alone where there was no memory for those of another part, which are now in this one.
func (q *part) place(dev *device.Device, t device.DType, offsets []int, shift, n int, at func(*param) **device.Buffer) (*device.Buffer, error) {
	a := &arena{}
	var err error
	if a.buffer, err = dev.Alloc(t, n+shift); err != nil {
		return nil, err
	}
	for i, p := range q.params {
		if *at(p) != nil {
			continue
		}
		if *at(p), err = a.buffer.Slice(shift+offsets[i], shift+offsets[i]+p.Value.Len()); err != nil {
			return nil, err
		}
		p.arenas = append(p.arenas, a)
		a.tensors++
	}
	return a.buffer, nil
}

// allocateTensorSums gives the part's tensors the sums that a program has of them, if it has some and they have none.
func (q *part) allocateTensorSums(dev *device.Device, program *kernels.Program) error {
	words := program.SumWords()
	var initial []float64
	for _, p := range q.params {
		if p.tensorSums == nil {
			initial = append(initial, program.InitialSums(p.Value.Len())...)
		}
	}
	if len(initial) == 0 {
		return nil
	}
	a := &arena{}
	var err error
	if a.buffer, err = dev.Alloc(device.Float64, len(initial)); err != nil {
		return fmt.Errorf("sums of tensors: %w", err)
	}
	s := dev.DefaultStream()
	if err = device.Upload(s, a.buffer, initial); err == nil {
		err = s.Synchronize()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("sums of tensors: %w", err), a.buffer.Close())
	}
	for _, p := range q.params {
		if p.tensorSums != nil {
			continue
		}
		if p.tensorSums, err = a.buffer.Slice(a.tensors*words, (a.tensors+1)*words); err != nil {
			return fmt.Errorf("sums of tensors: %w", err)
		}
		for _, x := range program.TensorStates() {
			b, err := p.tensorSums.Slice(x.Word, x.Word+1)
			if err != nil {
				return fmt.Errorf("sums of tensors: %w", err)
			}
			p.tensorState = append(p.tensorState, tensorState{x.Name, b})
		}
		p.arenas, a.tensors = append(p.arenas, a), a.tensors+1
	}
	return nil
}

// owned says whether a plane is the optimizer's: state, or what stands beside a parameter's value.
func owned(program *kernels.Program, plane int) bool {
	role := program.Of(plane).Role
	return role == kernels.State || role == kernels.Input || program.Planes[plane].Name != ""
}

// plane is where the tensor has the buffer of a plane, which is not the gradient's, of a program that trains it.
func (p *param) plane(program *kernels.Program, plane int) **device.Buffer {
	slot := program.Of(plane)
	switch {
	case program.Planes[plane].Name != "":
		return &p.master
	case slot.Role == kernels.Parameter:
		return &p.Value
	}
	return &p.slots[slot.Index]
}

// free gives the tensor's state back.
func (p *param) free() error {
	var errs []error
	for _, a := range p.arenas {
		if a.tensors--; a.tensors == 0 {
			errs = append(errs, a.buffer.Close())
		}
	}
	p.arenas, p.slots, p.master, p.given, p.tensorSums, p.tensorState = nil, nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

// block is the elements that fill, uniform and adopt look at at a time.
const block = 1 << 16

// fill sets all elements of a buffer, block by block, and waits.
func fill(s *device.Stream, b *device.Buffer, x float64) error {
	host := make([]float64, min(b.Len(), block))
	for i := range host {
		host[i] = x
	}
	return blocks(b, func(part *device.Buffer) error { return device.UploadFloats(s, part, host[:part.Len()]) })
}

// uniform says whether all elements of a buffer are x, rounded to their type. It waits.
func uniform(s *device.Stream, b *device.Buffer, x float64) (bool, error) {
	x = b.DType().Round(x)
	same := true
	host := make([]float64, min(b.Len(), block))
	err := blocks(b, func(part *device.Buffer) error {
		if err := device.DownloadFloats(s, host[:part.Len()], part); err != nil {
			return err
		}
		for _, y := range host[:part.Len()] {
			same = same && y == x
		}
		return nil
	})
	return same, err
}

func blocks(b *device.Buffer, f func(part *device.Buffer) error) error {
	for lo := 0; lo < b.Len(); lo += block {
		part, err := b.Slice(lo, min(lo+block, b.Len()))
		if err != nil {
			return err
		}
		if err := f(part); err != nil {
			return err
		}
	}
	return nil
}

// refill starts the state of tensors that have not taken a step as the hyperparameter is that the rule names, if that has changed
// since. State that somebody has written to meanwhile stays.
func (q *part) refill(s *device.Stream, hyper []float64) error {
	if !q.fresh {
		return nil
	}
	r := q.program.Rule
	for k, h := range r.Start {
		if h < 0 || hyper[h] == q.filled[k] {
			continue
		}
		if err := q.settle(s); err != nil || !q.fresh {
			return err
		}
		for _, p := range q.params {
			b := p.slots[k]
			if b == nil {
				continue
			}
			untouched, err := uniform(s, b, q.filled[k])
			if err == nil && untouched {
				err = fill(s, b, hyper[h])
			}
			if err != nil {
				return p.errorf("state %s: %w", r.Slots[k], err)
			}
		}
		q.filled[k] = hyper[h]
	}
	return nil
}
