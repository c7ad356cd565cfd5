package optim

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/rule"
)

func (p *param) fail(err error) error {
	return &TensorError{Group: p.group.index, Tensor: p.Name, Err: err}
}

func (p *param) errorf(format string, args ...any) error { return p.fail(fmt.Errorf(format, args...)) }

// usable says whether the tensor's buffers are open and on the device.
func (p *param) usable(dev *device.Device) error {
	if err := p.Value.Check(dev); err != nil {
		return p.errorf("value: %w", err)
	}
	for _, b := range p.given {
		if err := b.Check(dev); err != nil {
			return p.errorf("state %s: %w", p.nameOf(b), err)
		}
	}
	if p.Grad == nil {
		return nil
	}
	if err := p.Grad.Check(dev); err != nil {
		return p.errorf("grad: %w", err)
	}
	return nil
}

// check says whether the tensor is one that can be trained on the device. Before is what it was before Rebind, or nil.
func (p *param) check(b Backend, before *param) error {
	if p.Value == nil {
		return p.fail(errors.New("value is nil"))
	}
	if err := p.usable(b.Device()); err != nil {
		return err
	}
	if nowhere(b, p.Value) {
		return p.fail(errors.New("value wraps nothing"))
	}
	if err := p.checkTypes(b, before); err != nil || p.Grad == nil {
		return err
	}
	if err := p.length("grad", p.Grad, "value", p.Value); err != nil {
		return err
	}
	if nowhere(b, p.Grad) {
		p.held, p.Grad = p.Grad, nil
	}
	return nil
}

// checkTypes is check of the types, if they are not those of before.
func (p *param) checkTypes(b Backend, before *param) error {
	if before != nil && p.Value.DType() == before.Value.DType() && (p.Grad == nil || p.Grad.DType() == before.Grad.DType()) {
		return nil
	}
	compute := format.Compute(p.Value.DType())
	held := b.Storage(compute)
	if t := p.Value.DType(); !slices.Contains(held, t) {
		return p.errorf("value is %s: %w", t, device.ErrUnsupported)
	}
	if p.Grad == nil {
		return nil
	}
	if t := p.Grad.DType(); !slices.Contains(format.PlainTypes(compute), t) {
		return p.fail(&format.Error{Slot: rule.Grad, Format: t.Short(), Compute: compute})
	} else if !slices.Contains(held, t) {
		return p.errorf("grad is %s: %w", t, device.ErrUnsupported)
	}
	return nil
}

// nameOf is the name of the state that a buffer is.
func (p *param) nameOf(b *device.Buffer) string {
	for _, u := range p.stored() {
		if u.b == b {
			return u.what
		}
	}
	return ""
}

// give takes what the caller has as state, where the tensor's program has it.
func (p *param) give(dev *device.Device) error {
	if len(p.State) == 0 {
		return nil
	}
	program, err := kernels.New(p.spec(p.group.setting))
	if err != nil {
		return p.fail(err)
	}
	var names []string
	for k, plane := range program.Planes {
		name := program.PlaneName(k)
		if !owned(program, k) || program.Of(k).Role == kernels.Scratch {
			continue
		}
		names = append(names, name)
		b, given := p.State[name]
		if !given {
			continue
		}
		if err := b.Check(dev); err != nil {
			return p.errorf("state %s: %w", name, err)
		}
		if b.DType() != plane.DType {
			return p.fail(&device.DTypeError{What: "state " + name, Got: b.DType(), Ref: "its format", Want: plane.DType})
		}
		if want := p.numbers(plane.Domain); b.Len() != want {
			ref := map[rule.Domain]string{rule.OfElements: "value", rule.OfRows: "rows", rule.OfColumns: "columns"}[plane.Domain]
			return p.fail(&device.LengthError{What: "state " + name, Got: b.Len(), Ref: ref, Want: want})
		}
		*p.plane(program, k) = b
		if plane.Name != "" {
			p.masterName = name
		}
		p.given = append(p.given, b)
	}
	for _, name := range slices.Sorted(maps.Keys(p.State)) {
		if slices.ContainsFunc(program.TensorStates(), func(x kernels.TensorState) bool { return x.Name == name }) {
			return p.errorf("state %s is one number of the tensor, in memory of the optimizer: copy it to the buffer that State returns", name)
		}
		if !slices.Contains(names, name) {
			return p.errorf("has no state %q, only %q", name, names)
		}
	}
	p.State = nil // State of the optimizer finds it
	return nil
}

// nowhere says whether a buffer is one of a kernels.Mover that wraps nothing now.
func nowhere(b Backend, x *device.Buffer) bool {
	_, mover := b.(kernels.Mover)
	return mover && x.Len() > 0 && x.Addr() == 0
}

// same says whether a buffer has the type and the length of another.
func (p *param) same(what string, b *device.Buffer, ref string, of *device.Buffer) error {
	if b.DType() != of.DType() {
		return p.fail(&device.DTypeError{What: what, Got: b.DType(), Ref: ref, Want: of.DType()})
	}
	return p.length(what, b, ref, of)
}

// length says whether a buffer has the length of another.
func (p *param) length(what string, b *device.Buffer, ref string, of *device.Buffer) error {
	if b.Len() != of.Len() {
		return p.fail(&device.LengthError{What: what, Got: b.Len(), Ref: ref, Want: of.Len()})
	}
	return nil
}

// tensor is the parameter as the program's, in the group of a work.
func (p *param) tensor(group int, program *kernels.Program) kernels.Tensor {
	t := kernels.Tensor{Group: group, ID: p.id, Shape: p.shape(), Rows: p.rows, Matrices: p.matrices}
	if program.SumWords() > 0 {
		t.Sums = p.tensorSums
	}
	for k := range program.Planes {
		if program.Of(k).Role == kernels.Gradient {
			t.Planes = append(t.Planes, p.grad())
		} else {
			t.Planes = append(t.Planes, *p.plane(program, k))
		}
	}
	return t
}
