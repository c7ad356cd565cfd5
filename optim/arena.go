package optim

import (
	"errors"
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// arena is one slot's state of tensors that were added together, so that ten thousand small tensors are not ten thousand
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

// places are the offsets of the tensors' state in a buffer for all of them, how long that is, and a line, in elements of whatever size.
func (q *part) places(program *kernels.Program) (offsets []int, n, line int) {
	for _, plane := range program.Planes {
		line = max(line, stateAlign/plane.DType.Size())
	}
	for _, p := range q.params {
		n = (n + line - 1) / line * line
		n += int(p.Value.Addr()/uint64(p.Value.DType().Size())) % line
		offsets = append(offsets, n)
		n += p.Value.Len()
	}
	return offsets, n, line
}

// allocate gives the part's tensors the state that a program uses and they lack. It starts at zero, or as the hyperparameter
// that the rule says.
func (q *part) allocate(dev *device.Device, program *kernels.Program, setting rule.Setting) error {
	r := program.Rule
	offsets, n, line := q.places(program)
	s := dev.DefaultStream()
	for _, slot := range program.Slots {
		k, name := slot.Index, slot.Name
		if slot.Role != kernels.State && slot.Role != kernels.Input || len(q.params) == 0 || q.params[0].slots[k] != nil {
			continue
		}
		a := &arena{}
		shift := stagger(k, n, line)
		var err error
		if a.buffer, err = dev.Alloc(program.Planes[slot.Plane].DType, n+shift); err != nil {
			return fmt.Errorf("state %s: %w", name, err)
		}
		for i, p := range q.params {
			if p.slots[k], err = a.buffer.Slice(shift+offsets[i], shift+offsets[i]+p.Value.Len()); err != nil {
				return fmt.Errorf("state %s: %w", name, err)
			}
			p.arenas = append(p.arenas, a)
			a.tensors++
		}
		if h := r.Start[k]; h >= 0 && setting.Hyper[h] != 0 {
			q.filled[k] = setting.Hyper[h]
			err = fill(s, a.buffer, setting.Hyper[h])
		} else {
			err = s.Zero(a.buffer)
		}
		if err != nil {
			return fmt.Errorf("state %s: %w", name, err)
		}
	}
	return s.Synchronize()
}

// free gives the tensor's state back.
func (p *param) free() error {
	var errs []error
	for _, a := range p.arenas {
		if a.tensors--; a.tensors == 0 {
			errs = append(errs, a.buffer.Close())
		}
	}
	p.arenas, p.slots = nil, nil
	return errors.Join(errs...)
}

// block is the elements that fill and uniform look at at a time.
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
