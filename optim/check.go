package optim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
)

// check finds what is wrong with a new group's tensors, by themselves and beside all others.
func (o *Optimizer) check(g *group) error {
	dev := o.backend.Device()
	names := map[string]bool{}
	for _, p := range g.params {
		if err := p.check(dev); err != nil {
			return err
		}
		if names[p.Name] || o.names[p.Name] != nil {
			return p.errorf("another tensor has this name")
		}
		names[p.Name] = true
	}
	return apart(trained(append(slices.Clone(o.groups), g)))
}

// trained is how a step uses the tensors of groups.
func trained(groups []*group) (uses []use) {
	for _, g := range groups {
		for _, p := range g.params {
			uses = append(uses, use{p, "value", p.Value, true}, use{p, "grad", p.Grad, false})
		}
	}
	return uses
}

func (p *param) fail(err error) error {
	return &TensorError{Group: p.group, Tensor: p.Name, Err: err}
}

func (p *param) errorf(format string, args ...any) error { return p.fail(fmt.Errorf(format, args...)) }

// usable says whether the tensor's buffers are open and on the device.
func (p *param) usable(dev *device.Device) error {
	if err := p.Value.Check(dev); err != nil {
		return p.errorf("value: %w", err)
	}
	if err := p.Grad.Check(dev); err != nil {
		return p.errorf("grad: %w", err)
	}
	return nil
}

// check says whether the tensor is one that can be trained on the device.
func (p *param) check(dev *device.Device) error {
	switch {
	case p.Value == nil:
		return p.fail(errors.New("value is nil"))
	case p.Grad == nil:
		return p.fail(errors.New("grad is nil"))
	}
	if err := p.usable(dev); err != nil {
		return err
	}
	if t := p.Value.DType(); t != device.Float32 && t != device.Float64 {
		return p.errorf("value is %s: %w", t, device.ErrUnsupported)
	}
	if p.Grad.DType() != p.Value.DType() {
		return p.fail(&device.DTypeError{What: "grad", Got: p.Grad.DType(), Ref: "value", Want: p.Value.DType()})
	}
	if p.Grad.Len() != p.Value.Len() {
		return p.fail(&device.LengthError{What: "grad", Got: p.Grad.Len(), Ref: "value", Want: p.Value.Len()})
	}
	return nil
}

// use is a buffer of a tensor, and whether it is written.
type use struct {
	p     *param
	what  string
	b     *device.Buffer
	write bool
}

// apart checks that what is written shares memory with nothing else. What is only read may, as two gradients that are one.
func apart(uses []use) error {
	uses = slices.DeleteFunc(uses, func(u use) bool { return u.b.Len() == 0 })
	slices.SortStableFunc(uses, func(a, b use) int {
		if a.b.Addr() < b.b.Addr() {
			return -1
		}
		if a.b.Addr() > b.b.Addr() {
			return 1
		}
		return 0
	})
	// In order of address, a buffer that reaches into u is one of those that reach furthest: of all, or of those written.
	var far, farWritten *use
	for i := range uses {
		u := &uses[i]
		for _, v := range []*use{farWritten, far} {
			if v != nil && (u.write || v.write) && v.b.Overlaps(u.b) {
				return u.p.errorf("%s %w %s of group %d, tensor %q", u.what, device.ErrOverlap, v.what, v.p.group, v.p.Name)
			}
		}
		if far == nil || end(u.b) > end(far.b) {
			far = u
		}
		if u.write && (farWritten == nil || end(u.b) > end(farWritten.b)) {
			farWritten = u
		}
	}
	return nil
}

func end(b *device.Buffer) uint64 { return b.Addr() + uint64(b.Span().N) }
