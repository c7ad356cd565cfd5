package optim

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Row is where one buffer of each of a group's tensors is in memory.
type Row struct {
	Group int
	Name  string           // "value", "grad", or a state, by PyTorch's name
	At    []unsafe.Pointer // of each tensor, in the order of Params
}

// moves says which buffers have moved.
type moves uint8

const (
	gradients moves = 1 << iota
	written         // values and state
)

// movedRow is a Row of which some buffers move.
type movedRow struct {
	name   string
	buffer func(*param) **device.Buffer
	kind   moves
}

// move is one buffer that moves.
type move struct {
	p    *param
	row  *movedRow
	at   *unsafe.Pointer // where it is; of the group
	to   unsafe.Pointer
	size int // bytes of an element
}

// Move says where memory of the caller's is from the next step on: that which was wrapped for the values, the gradients and the State of tensors, as
// cpu.Device.WrapAt does. It is for frameworks whose tensors move from step to step: the buffers stay, and move, and nothing is compiled. Rows may be
// all or some. What has not moved since the last call costs a comparison. The steps under way must be over before the memory of before is given back.
//
// A gradient that is nil leaves its tensor out of steps, as SetGrad has it, and may come back. Steps with other sets of tensors cost no compiling, but
// the first in which tensors with one history part. GradNorm is 0 until the next step where a gradient has moved.
//
// What is wrong with a tensor is a TensorError: an address that is nil, or no multiple of the element's size; memory that another tensor's
// buffer shares; a buffer that wraps nothing. On an error the optimizer is as it was. A device that is no kernels.Mover, as a GPU is none, fails with
// device.ErrUnsupported: Rebind works there.
func (o *Optimizer) Move(rows ...Row) error {
	if err := o.open("move"); err != nil {
		return err
	}
	if o.mover == nil {
		return fmt.Errorf("optim: move: device %s: %w", o.backend.Device().Name(), device.ErrUnsupported)
	}
	o.moving = o.moving[:0]
	var kinds moves
	for _, r := range rows {
		kind, err := o.collect(r)
		if err != nil {
			return err
		}
		kinds |= kind
	}
	if kinds == 0 {
		return nil
	}
	alone := kinds == gradients && !o.common.zeroGrad // they are only read
	if alone {
		if err := o.gradientsApart(); err != nil {
			return err
		}
	}
	for i := range o.moving {
		m := &o.moving[i]
		if err := o.put(m, m.to); err != nil {
			o.putBack(i)
			return m.p.errorf("%s: %w", m.row.name, err)
		}
	}
	if !alone {
		if err := o.apart(); err != nil {
			o.putBack(len(o.moving))
			return err
		}
		o.memory.unmade = true
	}
	for i := range o.moving {
		m := &o.moving[i]
		o.toggled = o.toggled || m.row.kind == gradients && (*m.at == nil) != (m.to == nil)
		*m.at = m.to
		m.p.part.moved |= m.row.kind
	}
	o.memory.unread, o.elsewhere = true, true
	if kinds&gradients != 0 {
		o.norm.follow()
	}
	o.sums.moved()
	o.eval.moved()
	return nil
}

// collect finds which buffers of a row move.
func (o *Optimizer) collect(r Row) (moves, error) {
	g, err := o.group("move", r.Group)
	if err != nil {
		return 0, err
	}
	if len(r.At) != len(g.params) {
		return 0, fmt.Errorf("optim: move: group %d: %s: %w", r.Group, r.Name, &device.LengthError{What: "addresses", Got: len(r.At), Ref: "tensors", Want: len(g.params)})
	}
	row := g.row(r.Name)
	if row == nil {
		return 0, fmt.Errorf("optim: move: group %d has no %q, only \"value\", \"grad\" and the state %q", r.Group, r.Name, g.stateSlots())
	}
	at := g.at[r.Name]
	if at == nil {
		at = make([]unsafe.Pointer, len(g.params))
		for i, p := range g.params {
			*(*uintptr)(unsafe.Pointer(&at[i])) = uintptr((*row.buffer(p)).Addr())
		}
		if g.at == nil {
			g.at = map[string][]unsafe.Pointer{}
		}
		g.at[r.Name] = at
	}
	var kinds moves
	for i, to := range r.At {
		if to == at[i] {
			continue
		}
		m := move{p: g.params[i], row: row, at: &at[i], to: to}
		if err := m.check(); err != nil {
			return 0, err
		}
		o.moving = append(o.moving, m)
		kinds = row.kind
	}
	return kinds, nil
}

// stateSlots are the slots that are state.
func (g *group) stateSlots() []string {
	return slices.DeleteFunc(slices.Clone(g.slots()), func(name string) bool { return name == rule.Param || name == rule.Grad })
}

// row finds, by its name, one buffer of each tensor; nil where there is none.
func (g *group) row(name string) *movedRow {
	switch name {
	case "value":
		return &movedRow{name, func(p *param) **device.Buffer { return &p.Value }, written}
	case "grad":
		return &movedRow{name, func(p *param) **device.Buffer { return &p.Grad }, gradients}
	}
	for k, slot := range g.slots() {
		if slot == name {
			return &movedRow{name, func(p *param) **device.Buffer { return &p.slots[k] }, written}
		}
	}
	if slices.ContainsFunc(g.params, func(p *param) bool { return p.masterName == name }) {
		return &movedRow{name, func(p *param) **device.Buffer { return &p.master }, written}
	}
	return nil
}

// check says whether a buffer can be where it is to be.
func (m *move) check() error {
	var t device.DType
	switch b := *m.row.buffer(m.p); {
	case b != nil:
		t = b.DType()
	case m.row.kind == gradients:
		t = m.p.gradient()
	default:
		return m.p.errorf("has no state %q, only %q", m.row.name, m.p.stateNames())
	}
	m.size = t.Size()
	switch {
	case m.to == nil && m.row.kind == written && m.p.n > 0:
		return m.p.errorf("%s: the address is nil", m.row.name)
	case uintptr(m.to)&uintptr(m.size-1) != 0:
		return m.p.errorf("%s: address %p is no multiple of %d, the bytes of a %s", m.row.name, m.to, m.size, t)
	}
	return nil
}

// gradientsApart checks that the gradients that move share no memory with what is written.
func (o *Optimizer) gradientsApart() error {
	writes := o.memory.writes(o)
	for i := range o.moving {
		m := &o.moving[i]
		lo := uint64(uintptr(m.to))
		if v := writes.hitBytes(lo, lo+uint64(m.p.n*m.size)); m.to != nil && v != nil {
			return overlap(&use{p: m.p, what: m.row.name}, v)
		}
	}
	return nil
}

// put moves a buffer. A gradient that is nowhere is none.
func (o *Optimizer) put(m *move, to unsafe.Pointer) (err error) {
	p := m.p
	switch {
	case m.row.kind == written:
		err = o.mover.Move(*m.row.buffer(p), to)
	case p.Grad != nil:
		if err = o.mover.Move(p.Grad, to); err == nil && to == nil {
			p.held, p.Grad = p.Grad, nil
		}
	case p.held != nil:
		if err = o.mover.Move(p.held, to); err == nil && to != nil {
			p.Grad = p.held
		}
	case to != nil:
		p.Grad, err = o.mover.WrapAt(p.gradient(), p.n, to)
	}
	return err
}

// putBack undoes the first n moves.
func (o *Optimizer) putBack(n int) {
	for i := range o.moving[:n] {
		m := &o.moving[i]
		_ = o.put(m, *m.at) // as it was before
	}
}
