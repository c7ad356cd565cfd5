package optim

import (
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Rebind gives tensors, found by name, other buffers from the next step on, for frameworks that move their tensors from step to
// step. Each value is as long as the one before it, and of its type. State, hyperparameters and the number of steps stay, and so
// do the buffers of tensors that params does not name; GradNorm is 0 until the next step. What is wrong with a tensor is a
// TensorError. On an error the optimizer is as it was.
//
// State stays in its place, too: on a GPU a step uses vectors only for tensors whose new value lies as far from a multiple of
// 16 bytes as their first one did.
func (o *Optimizer) Rebind(params []Param) error {
	if o.closed {
		return fmt.Errorf("optim: rebind: optimizer is %w", device.ErrClosed)
	}
	was := map[*param]param{}
	retire, err := o.rebind(params, was)
	if err != nil {
		for p, old := range was {
			*p = old
		}
		return err
	}
	if err := retire(); err != nil {
		return fmt.Errorf("optim: tensors were rebound, but what this replaces could not be freed: %w", err)
	}
	return nil
}

// rebind changes tensors, after it has put what they are into was.
func (o *Optimizer) rebind(params []Param, was map[*param]param) (retire func() error, err error) {
	for _, q := range params {
		p := o.names[q.Name]
		if p == nil {
			return nil, fmt.Errorf("optim: rebind: there is no tensor %q", q.Name)
		}
		if _, twice := was[p]; twice {
			return nil, p.errorf("another tensor has this name")
		}
		old := *p
		was[p] = old
		p.Param = q
		if err := p.check(o.backend.Device()); err != nil {
			return nil, err
		}
		if q.Value.DType() != old.Value.DType() {
			return nil, p.fail(&device.DTypeError{What: "value", Got: q.Value.DType(), Ref: "the one before", Want: old.Value.DType()})
		}
		if q.Value.Len() != old.Value.Len() {
			return nil, p.fail(&device.LengthError{What: "value", Got: q.Value.Len(), Ref: "the one before", Want: old.Value.Len()})
		}
		p.slots = slices.Clone(p.slots)
		p.attach(o.groups[p.group].setting.Rule)
	}
	if err := apart(trained(o.groups)); err != nil {
		return nil, err
	}
	return o.compile(o.groups, o.parts)
}

// attach puts the tensor's own buffers in their slots.
func (p *param) attach(r *rule.Rule) {
	p.slots[r.Slot(rule.Param)], p.slots[r.Slot(rule.Grad)] = p.Value, p.Grad
}
