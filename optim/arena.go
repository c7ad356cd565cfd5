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

// places are the offsets of what the tensors have of a domain in a buffer for all of them, how long that is, and a line, in elements of whatever
// size. Rows and columns begin at a line.
func (q *part) places(program *kernels.Program, d rule.Domain) (offsets []int, n, line int) {
	line = lineOf(program)
	for _, p := range q.params {
		off := 0
		if d == rule.OfElements {
			off = int(p.Value.Addr()/uint64(p.Value.DType().Size())) % line
		}
		n = behind(n, off, line)
		offsets = append(offsets, n)
		n += p.numbers(d)
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
	s := dev.DefaultStream()
	for i, plane := range program.Planes {
		k, name := program.Of(i).Index, program.PlaneName(i)
		if !owned(program, i) || !slices.ContainsFunc(q.params, func(p *param) bool { return *p.plane(program, i) == nil }) {
			continue
		}
		offsets, n, line := q.places(program, plane.Domain)
		buffer, err := q.place(dev, plane.DType, plane.Domain, offsets, stagger(k, n, line), n, func(p *param) **device.Buffer {
			if plane.Name != "" {
				p.masterName = name
			}
			return p.plane(program, i)
		})
		if err != nil {
			return fmt.Errorf("state %s: %w", name, err)
		}
		if plane.Domain == rule.OfElements && k < len(r.Start) && r.Start[k] >= 0 && setting.Hyper[r.Start[k]] != 0 {
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
// nobody's. It has what the tensors have of a domain. At is where a tensor has it. Some lack it alone where there was no memory for those of another part, which are now in this one.
func (q *part) place(dev *device.Device, t device.DType, d rule.Domain, offsets []int, shift, n int, at func(*param) **device.Buffer) (*device.Buffer, error) {
	a := &arena{}
	var err error
	if a.buffer, err = dev.Alloc(t, n+shift); err != nil {
		return nil, err
	}
	for i, p := range q.params {
		if *at(p) != nil {
			continue
		}
		if *at(p), err = a.buffer.Slice(shift+offsets[i], shift+offsets[i]+p.numbers(d)); err != nil {
			return nil, err
		}
		p.arenas = append(p.arenas, a)
		a.tensors++
	}
	return a.buffer, nil
}

// allocateTensorSums gives the part's tensors the sums that a program has of them, if it has some and they have none, or too few: then what they keep is
// copied, and the memory that it was in stays theirs.
func (q *part) allocateTensorSums(dev *device.Device, program *kernels.Program) error {
	if program.Rule.Everything {
		return q.share(dev, program)
	}
	words := program.SumWords()
	var initial []float64
	lacks := func(p *param) bool { return p.tensorSums == nil || p.tensorSums.Len() < words }
	for _, p := range q.params {
		if lacks(p) {
			initial = append(initial, program.InitialSums(p.Value.Len(), p.rows, p.matrices)...)
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
		if !lacks(p) {
			continue
		}
		if p.tensorSums, err = a.buffer.Slice(a.tensors*words, (a.tensors+1)*words); err != nil {
			return fmt.Errorf("sums of tensors: %w", err)
		}
		var state []tensorState
		for i, x := range program.TensorStates() {
			b, err := p.tensorSums.Slice(x.Word, x.Word+1)
			if err == nil && i < len(p.tensorState) {
				err = s.Copy(b, p.tensorState[i].b)
			}
			if err != nil {
				return fmt.Errorf("sums of tensors: %w", err)
			}
			state = append(state, tensorState{rule.OfTensor, x.Name, b})
		}
		p.arenas, a.tensors, p.tensorState = append(p.arenas, a), a.tensors+1, state
	}
	return s.Synchronize()
}

// share gives the part's tensors the sums that they have together with all others of a rule.Rule.Everything, and makes these where there are none yet.
func (q *part) share(dev *device.Device, program *kernels.Program) (err error) {
	c := q.group.common
	a := c.together
	if a == nil {
		a = &arena{}
		initial := program.InitialSums(0, 0, 0)
		if a.buffer, err = dev.Alloc(device.Float64, len(initial)); err != nil {
			return fmt.Errorf("sums of all tensors: %w", err)
		}
		s := dev.DefaultStream()
		if err = device.Upload(s, a.buffer, initial); err == nil {
			err = s.Synchronize()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("sums of all tensors: %w", err), a.buffer.Close())
		}
		c.together = a
	}
	var state []tensorState
	for _, x := range program.TensorStates() {
		b, err := a.buffer.Slice(x.Word, x.Word+1)
		if err != nil {
			return fmt.Errorf("sums of all tensors: %w", err)
		}
		state = append(state, tensorState{rule.OfTensor, x.Name, b})
	}
	for _, p := range q.params {
		if p.tensorSums == nil {
			p.tensorSums, p.tensorState, p.arenas, a.tensors = a.buffer, state, append(p.arenas, a), a.tensors+1
		}
	}
	return nil
}

// owned says whether a plane is the optimizer's: state, what rows and columns have in a step alone, or what stands beside a parameter's value.
func owned(program *kernels.Program, plane int) bool {
	role := program.Of(plane).Role
	return role == kernels.State || role == kernels.Input || role == kernels.Scratch || program.Planes[plane].Name != ""
}

// plane is where the tensor has the buffer of a plane, which is not the gradient's, of a program that trains it.
func (p *param) plane(program *kernels.Program, plane int) **device.Buffer {
	slot := program.Of(plane)
	switch {
	case program.Planes[plane].Name != "":
		return &p.master
	case slot.Role == kernels.Parameter:
		return &p.Value
	case slot.Domain != rule.OfElements:
		return p.line(slot.Domain, slot.Index)
	}
	return &p.slots[slot.Index]
}

// free gives the tensor's state back.
func (p *param) free() error {
	var errs []error
	for _, a := range p.arenas {
		if a.tensors--; a.tensors > 0 {
			continue
		}
		if p.group.common.together == a {
			p.group.common.together = nil
		}
		errs = append(errs, a.buffer.Close())
	}
	p.arenas, p.slots, p.lines, p.master, p.given, p.tensorSums, p.tensorState = nil, nil, [2][]*device.Buffer{}, nil, nil, nil, nil
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

// refills says whether state starts otherwise with the hyperparameters than it has been filled.
func (q *part) refills(hyper []float64) bool {
	for k, h := range q.program.Rule.Start {
		if h >= 0 && hyper[h] != q.filled[k] {
			return true
		}
	}
	return false
}

// refill starts the state of tensors that have not taken a step as the hyperparameter is that the rule names, if that has changed
// since. State that somebody has written to meanwhile stays.
func (q *part) refill(s *device.Stream, hyper []float64) error {
	if !q.fresh || !q.refills(hyper) {
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
