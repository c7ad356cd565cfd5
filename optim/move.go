package optim

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
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
	replaced        // gradients are other buffers, or come and go
)

// movedRow is a Row of a group, as Move was told of it last, by tensor. A step leaves nothing of ten thousand tensors in the caches: where buffers move
// and stay buffers, only this is looked at, in order, and no tensor.
type movedRow struct {
	group  *group
	name   string
	kind   moves
	buffer func(*param) **device.Buffer
	at     []unsafe.Pointer
	words  []*unsafe.Pointer // kernels.Mover.Word; nil until a buffer moves
	bytes  []uint64          // of buffers
	mask   uintptr           // the bits of addresses that are 0 where they are multiples of all elements' sizes

	to    []unsafe.Pointer // where the Move that is being made puts them; nil: it moves none
	moved moves            // by that
	was   []unsafe.Pointer // in the words before it, where it may fail yet: another optimizer may have put them there
}

// Move says where memory of the caller's is from the next step on: that which was wrapped for the values, the gradients and the State of tensors, as
// cpu.Device.WrapAt does. It is for frameworks whose tensors move from step to step: the buffers stay, and move, and nothing is compiled. Rows may be
// all or some. What has not moved since the last call costs a comparison. The steps under way must be over before the memory of before is given back.
// Of a buffer that several optimizers have, each is told.
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
	defer o.moved()
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
	alone := kinds&written == 0 && !o.common.zeroGrad // they are only read
	if alone {
		if err := o.gradientsApart(); err != nil {
			return err
		}
	}
	if !alone || kinds&replaced != 0 {
		o.keep()
	}
	err := o.putAll()
	if err == nil && !alone {
		err = o.apart()
	}
	if err != nil {
		o.putBack()
		return err
	}
	for _, x := range o.moving {
		for _, q := range x.group.parts {
			q.moved |= x.moved
		}
		copy(x.at, x.to)
	}
	o.memory.unread, o.elsewhere = true, true
	o.memory.unmade = o.memory.unmade || !alone
	o.toggled = o.toggled || kinds&replaced != 0
	if kinds&gradients != 0 {
		o.norm.follow(kinds&replaced != 0 || o.common.accumulate)
	}
	o.sums.moved()
	o.eval.moved()
	return nil
}

// moved forgets what Move was told, which may be no memory soon.
func (o *Optimizer) moved() {
	for _, x := range o.moving {
		clear(x.was)
		x.to, x.was = nil, x.was[:0]
	}
	clear(o.moving)
	o.moving = o.moving[:0]
}

// collect finds what of a row moves. Where it is said twice, the last one counts.
func (o *Optimizer) collect(r Row) (moves, error) {
	g, err := o.group("move", r.Group)
	if err != nil {
		return 0, err
	}
	if len(r.At) != len(g.params) {
		return 0, fmt.Errorf("optim: move: group %d: %s: %w", r.Group, r.Name, &device.LengthError{What: "addresses", Got: len(r.At), Ref: "tensors", Want: len(g.params)})
	}
	x := g.moves[r.Name]
	if x == nil {
		if x = g.row(r.Name); x == nil {
			return 0, fmt.Errorf("optim: move: group %d has no %q, only \"value\", \"grad\" and the state %q", r.Group, r.Name, g.stateSlots())
		}
		if g.moves == nil {
			g.moves = map[string]*movedRow{}
		}
		g.moves[r.Name] = x
	}
	kind, words := moves(0), x.words[:len(r.At)]
	for i, from := range x.at[:len(r.At)] {
		to := r.At[i]
		if to == from {
			continue
		}
		kind |= x.kind
		if words[i] == nil || to == nil || from == nil || uintptr(to)&x.mask != 0 {
			if err := x.check(o.mover, i, to); err != nil {
				return 0, err
			}
			if x.toggles(i, to) {
				kind |= replaced
			}
		}
	}
	switch {
	case x.to != nil: // it was said before
		x.to = r.At
	case kind != 0:
		x.to, o.moving = r.At, append(o.moving, x)
	}
	x.moved = kind
	return kind, nil
}

// stateSlots are the slots that are state.
func (g *group) stateSlots() []string {
	names := slices.DeleteFunc(slices.Clone(g.slots()), func(name string) bool { return name == rule.Param || name == rule.Grad })
	return append(names, g.lineSlots()...)
}

// row finds, by its name, one buffer of each tensor, and where it is; nil where there is none.
func (g *group) row(name string) *movedRow {
	x := &movedRow{group: g, name: name, kind: written, buffer: g.buffer(name)}
	if x.buffer == nil {
		return nil
	}
	if name == "grad" {
		x.kind = gradients
	}
	n := len(g.params)
	x.at, x.words, x.bytes = make([]unsafe.Pointer, n), make([]*unsafe.Pointer, n), make([]uint64, n)
	for i, p := range g.params {
		*(*uintptr)(unsafe.Pointer(&x.at[i])) = uintptr((*x.buffer(p)).Addr())
	}
	return x
}

// buffer is where tensors have a buffer of a row; nil where there is no such row.
func (g *group) buffer(name string) func(*param) **device.Buffer {
	switch name {
	case "value":
		return func(p *param) **device.Buffer { return &p.Value }
	case "grad":
		return func(p *param) **device.Buffer { return &p.Grad }
	}
	for k, slot := range g.slots() {
		if slot == name {
			return func(p *param) **device.Buffer { return &p.slots[k] }
		}
	}
	for _, d := range lineDomains {
		for i, f := range g.setting.Rule.Fields(d) {
			if f.Slot == name {
				return func(p *param) **device.Buffer { return p.line(d, i) }
			}
		}
	}
	if slices.ContainsFunc(g.params, func(p *param) bool { return p.masterName == name }) {
		return func(p *param) **device.Buffer { return &p.master }
	}
	return nil
}

// toggles says whether a gradient comes or goes.
func (x *movedRow) toggles(i int, to unsafe.Pointer) bool {
	return x.kind == gradients && (x.at[i] == nil) != (to == nil)
}

// check says whether a buffer can be where it is to be, and looks at it for that.
func (x *movedRow) check(m kernels.Mover, i int, to unsafe.Pointer) (err error) {
	p := x.group.params[i]
	b := *x.buffer(p)
	if b == nil && x.kind == gradients {
		b = p.held
	}
	var t device.DType
	switch {
	case b != nil:
		t = b.DType()
	case x.kind == gradients:
		t = p.gradient()
	default:
		return p.errorf("has no state %q, only %q", x.name, p.stateNames())
	}
	x.bytes[i], x.mask = uint64(p.n*t.Size()), x.mask|uintptr(t.Size()-1)
	switch {
	case to == nil && x.kind == written && b.Len() > 0:
		return p.errorf("%s: the address is nil", x.name)
	case uintptr(to)&uintptr(t.Size()-1) != 0:
		return p.errorf("%s: address %p is no multiple of %d, the bytes of a %s", x.name, to, t.Size(), t)
	case b != nil && x.words[i] == nil:
		if x.words[i], err = m.Word(b); err != nil {
			return p.errorf("%s: %w", x.name, err)
		}
	}
	return nil
}

// gradientsApart checks that the gradients that move share no memory with what is written.
func (o *Optimizer) gradientsApart() error {
	writes := o.memory.writes(o)
	var from, end uint64 // between which nothing is written, as most gradients lie side by side
	for _, x := range o.moving {
		at, bytes := x.at[:len(x.to)], x.bytes[:len(x.to)]
		for i, to := range x.to {
			lo, hi := uint64(uintptr(to)), uint64(uintptr(to))+bytes[i]
			if to == at[i] || to == nil || from <= lo && hi <= end {
				continue
			}
			if v := writes.hitBytes(lo, hi); v != nil {
				return overlap(&use{p: x.group.params[i], what: x.name}, v)
			}
			from, end = writes.gap()
		}
	}
	return nil
}

// keep remembers what putBack needs.
func (o *Optimizer) keep() {
	for _, x := range o.moving {
		for _, word := range x.words {
			var at unsafe.Pointer
			if word != nil {
				at = *word
			}
			x.was = append(x.was, at)
		}
	}
}

// putAll does all moves.
func (o *Optimizer) putAll() error {
	for _, x := range o.moving {
		words := x.words[:len(x.to)]
		for i, from := range x.at[:len(x.to)] {
			switch to := x.to[i]; {
			case to == from:
			case from != nil && to != nil || x.kind == written:
				*words[i] = to
			default:
				if err := x.toggle(o.mover, i, to); err != nil {
					return x.group.params[i].errorf("%s: %w", x.name, err)
				}
			}
		}
	}
	return nil
}

// toggle moves a gradient that comes or goes.
func (x *movedRow) toggle(m kernels.Mover, i int, to unsafe.Pointer) (err error) {
	p := x.group.params[i]
	if x.words[i] == nil { // there has been none
		if p.held, err = m.WrapAt(p.gradient(), p.n, to); err != nil {
			return err
		}
		if x.words[i], err = m.Word(p.held); err != nil {
			return err
		}
	}
	if *x.words[i] = to; p.Grad != nil {
		p.held = p.Grad
	}
	if p.Grad = p.held; to == nil {
		p.Grad = nil
	}
	return nil
}

// putBack undoes the moves, some of which may not have been done.
func (o *Optimizer) putBack() {
	for _, x := range o.moving {
		for i, at := range x.at {
			if at == x.to[i] || x.words[i] == nil {
				continue
			}
			if x.toggles(i, x.to[i]) {
				_ = x.toggle(o.mover, i, at) // as it was before
			}
			*x.words[i] = x.was[i]
		}
	}
}
