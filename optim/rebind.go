package optim

import (
	"slices"

	"github.com/fusestep/fusestep/device"
)

// Rebind gives tensors, found by name, other buffers from the next step on, for frameworks that move their tensors from step to step. Each value is
// as long as the one before it, and of its type. A gradient may have another type than the one before it. It may become nil, which leaves the
// tensor out of steps, and may come back. State, hyperparameters and the number of steps stay, and so do the buffers of tensors that params does
// not name; GradNorm is 0 until the next step. What is wrong with a tensor is a TensorError. On an error the optimizer is as it was.
//
// The next step compiles what is stepped with these tensors, and nothing else; on a CPU it only looks where they are. State stays in its place: on a GPU a step uses
// vectors only for tensors whose new value lies as far from a multiple of 16 bytes as their first one did.
func (o *Optimizer) Rebind(params []Param) error {
	if err := o.open("rebind"); err != nil {
		return err
	}
	moved := map[*param]*param{} // as they will be
	values := false
	var uses []use
	for _, n := range params {
		p, err := o.tensor("rebind", n.Name)
		if err != nil {
			return err
		}
		if moved[p] != nil {
			return p.errorf("another tensor has this name")
		}
		if len(n.State) > 0 {
			return p.errorf("state stays where it is: Rebind takes none")
		}
		q := new(param)
		*q = *p
		q.Param = n
		moved[p] = q
		if err := q.check(o.backend, p); err != nil {
			return err
		}
		if err := q.same("value", q.Value, "the one before", p.Value); err != nil {
			return err
		}
		if n.Shape != nil && !slices.Equal(n.Shape, p.shape()) || n.Rows != 0 && n.Rows != p.Rows && n.Rows != p.rows ||
			n.Matrices != 0 && n.Matrices != p.Matrices && n.Matrices != p.matrices {
			return p.errorf("has the shape %v and %d rows of %d matrices, and keeps them: it is given %v, %d and %d", p.shape(), p.rows, p.matrices, n.Shape, n.Rows, n.Matrices)
		}
		q.Shape, q.Rows, q.Matrices = p.Shape, p.Rows, p.Matrices
		values = values || q.Value.Addr() != p.Value.Addr()
		if q.Grad != nil {
			uses = append(uses, use{q, "grad", q.Grad, false})
		}
	}
	if values || o.common.zeroGrad { // hold everything against everything
		uses = nil
		for _, g := range o.all() {
			for _, p := range g.params {
				if q := moved[p]; q != nil {
					p = q
				}
				uses = append(append(uses, p.trained()...), p.stored()...)
			}
		}
		if err := apart(uses); err != nil {
			return err
		}
		o.memory.unmade = true
	} else { // gradients are only read
		for i := range uses {
			if v := o.memory.writes(o).hit(uses[i].b); v != nil {
				return overlap(&uses[i], v)
			}
		}
		o.memory.unread = true
	}
	for p, q := range moved {
		part := p.part
		part.mixed = part.mixed || !o.common.accumulate && p.Grad.DType() != q.Grad.DType() // which is 0 where there is none
		if o.mover != nil {
			part.moved, o.elsewhere = part.moved|gradients|replaced, true
			if q.Value != p.Value {
				part.moved |= written
			}
		} else {
			part.changed, o.stale = true, true
		}
		p.Param, p.held, p.group.moves = q.Param, nil, nil
	}
	if len(moved) > 0 {
		o.norm.moved()
		o.sums.moved()
		o.eval.moved()
	}
	return nil
}

// SetGrad gives a tensor another gradient from the next step on. Nil leaves the tensor out of steps, as PyTorch does where grad
// is None: its value and its state stay as they are, and it does not count the step, so that its bias corrections are later those
// of its own steps. The gradient is not in the norm that SetClipNorm measures. With SetAccumulate on it leaves the tensor out of Accumulate,
// and of a step whose sum it is not in. The next step with another set of tensors than the
// one before compiles; steps with the same set cost nothing more.
func (o *Optimizer) SetGrad(tensor string, grad *device.Buffer) error {
	p, err := o.tensor("set grad", tensor)
	if err != nil {
		return err
	}
	if grad == p.Grad {
		return nil
	}
	return o.Rebind([]Param{{Name: tensor, Value: p.Value, Grad: grad}})
}
