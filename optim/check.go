package optim

import (
	"errors"
	"fmt"
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
	if p.Grad == nil {
		return nil
	}
	if err := p.Grad.Check(dev); err != nil {
		return p.errorf("grad: %w", err)
	}
	return nil
}

// check says whether the tensor is one that can be trained on the device.
func (p *param) check(b Backend) error {
	if p.Value == nil {
		return p.fail(errors.New("value is nil"))
	}
	if err := p.usable(b.Device()); err != nil {
		return err
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
	return p.length("grad", p.Grad, "value", p.Value)
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
	t := kernels.Tensor{Group: group, ID: p.id, Shape: []int{p.Value.Len()}}
	if program.TensorScalars != nil {
		t.Sums = p.squares
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
