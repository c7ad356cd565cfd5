package optim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// stateAlign is the bytes to which a tensor's state is aligned, a GPU's line; off by as much as the tensor's value is, since
// a step can use vectors only where all of a tensor's buffers are equally far from a multiple of their size.
const stateAlign = 128

// places are the offsets of the tensors' state in a buffer for all of them, and how long that is.
func (q *part) places() (offsets []int, n int) {
	size := q.program.DType.Size()
	for _, p := range q.params {
		n = (n + stateAlign/size - 1) / (stateAlign / size) * (stateAlign / size)
		n += int(p.Value.Addr()%stateAlign) / size
		offsets = append(offsets, n)
		n += p.Value.Len()
	}
	return offsets, n
}

// allocate makes the part's state: for each slot one buffer, of which each tensor has a slice, so that ten thousand small
// tensors are not ten thousand allocations. It starts at zero, or as the hyperparameter that the rule says.
func (q *part) allocate(dev *device.Device, setting rule.Setting) error {
	r := q.program.Rule
	used, err := q.program.Used()
	if err != nil {
		return err
	}
	for _, p := range q.params {
		p.slots = make([]*device.Buffer, len(r.Slots))
		p.attach(r)
	}
	offsets, n := q.places()
	s := dev.DefaultStream()
	for _, k := range used {
		name := r.Slots[k]
		if name == rule.Param || name == rule.Grad {
			continue
		}
		arena, err := dev.Alloc(q.program.DType, n)
		if err != nil {
			return fmt.Errorf("state %s: %w", name, err)
		}
		q.arenas = append(q.arenas, arena)
		for i, p := range q.params {
			if p.slots[k], err = arena.Slice(offsets[i], offsets[i]+p.Value.Len()); err != nil {
				return fmt.Errorf("state %s: %w", name, err)
			}
		}
		if h := r.Start[k]; h >= 0 && setting.Hyper[h] != 0 {
			err = fill(s, arena, setting.Hyper[h])
		} else {
			err = s.Zero(arena)
		}
		if err != nil {
			return fmt.Errorf("state %s: %w", name, err)
		}
	}
	if q.state, err = dev.Alloc(device.Float64, len(r.State)); err != nil {
		return err
	}
	if err := device.Upload(s, q.state, r.InitialState()); err != nil {
		return err
	}
	return s.Synchronize()
}

// fill sets all elements of a buffer, block by block, and waits.
func fill(s *device.Stream, b *device.Buffer, x float64) error {
	const block = 1 << 16
	n := min(b.Len(), block)
	wide, single := make([]float64, n), make([]float32, n)
	for i := range n {
		wide[i], single[i] = x, float32(x)
	}
	for lo := 0; lo < b.Len(); lo += block {
		to, err := b.Slice(lo, min(lo+block, b.Len()))
		if err != nil {
			return err
		}
		if b.DType() == device.Float64 {
			err = device.Upload(s, to, wide[:to.Len()])
		} else {
			err = device.Upload(s, to, single[:to.Len()])
		}
		if err != nil {
			return err
		}
	}
	return s.Synchronize()
}

func closeParts(parts []*part) error {
	var errs []error
	for _, q := range parts {
		if q.state != nil {
			errs = append(errs, q.state.Close())
		}
		for _, b := range q.arenas {
			errs = append(errs, b.Close())
		}
	}
	return errors.Join(errs...)
}

// State is a tensor's state under PyTorch's name for it, such as "exp_avg": as many elements as the tensor, of its type,
// in place. What is written to it counts from the next step on. The buffer is closed with the optimizer.
func (o *Optimizer) State(tensor, slot string) (*device.Buffer, error) {
	if o.closed {
		return nil, fmt.Errorf("optim: state: optimizer is %w", device.ErrClosed)
	}
	p := o.names[tensor]
	if p == nil {
		return nil, fmt.Errorf("optim: state: there is no tensor %q", tensor)
	}
	k := o.groups[p.group].setting.Rule.Slot(slot)
	if k < 0 || slot == rule.Param || slot == rule.Grad || p.slots[k] == nil {
		return nil, p.errorf("has no state %q, only %q", slot, o.StateNames(p.group))
	}
	return p.slots[k], nil
}

// StateNames lists the state that each tensor of a group has.
func (o *Optimizer) StateNames(group int) []string {
	var out []string
	g := o.groups[group]
	for k, name := range g.setting.Rule.Slots {
		if name != rule.Param && name != rule.Grad && slices.ContainsFunc(g.params, func(p *param) bool { return p.slots[k] != nil }) {
			out = append(out, name)
		}
	}
	return out
}

// GroupState waits for the stream, nil for the default one, and returns what the group keeps from step to step: "step", the number of
// steps taken, and such as "beta1_power".
func (o *Optimizer) GroupState(s *device.Stream, group int) (map[string]float64, error) {
	s, err := o.use(s)
	if err != nil {
		return nil, err
	}
	for _, q := range o.parts {
		if q.group != group {
			continue
		}
		x := make([]float64, q.state.Len())
		if err := device.Download(s, x, q.state); err != nil {
			return nil, fmt.Errorf("optim: group %d: state: %w", group, err)
		}
		if err := s.Synchronize(); err != nil {
			return nil, fmt.Errorf("optim: group %d: state: %w", group, err)
		}
		out := map[string]float64{}
		for i, f := range q.program.Rule.State {
			out[f.Name] = x[i]
		}
		return out, nil
	}
	return nil, fmt.Errorf("optim: state: there is no group %d with tensors", group)
}

// SetGroupState puts back what GroupState returned, all of it, and waits for the stream.
func (o *Optimizer) SetGroupState(s *device.Stream, group int, state map[string]float64) error {
	s, err := o.use(s)
	if err != nil {
		return err
	}
	if group < 0 || group >= len(o.groups) {
		return fmt.Errorf("optim: set state: there is no group %d, only %d of them: %w", group, len(o.groups), device.ErrRange)
	}
	fields := o.groups[group].setting.Rule.State
	x := make([]float64, len(fields))
	for i, f := range fields {
		v, ok := state[f.Name]
		if !ok || len(state) != len(fields) {
			return fmt.Errorf("optim: group %d: set state: want %d values, %q among them, have %v", group, len(fields), f.Name, state)
		}
		x[i] = v
	}
	for _, q := range o.parts {
		if q.group != group {
			continue
		}
		if err := device.Upload(s, q.state, x); err != nil {
			return fmt.Errorf("optim: group %d: set state: %w", group, err)
		}
	}
	return s.Synchronize()
}
