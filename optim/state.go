package optim

import (
	"iter"

	"github.com/fusestep/fusestep/device"
)

// State is a tensor's state under PyTorch's name for it, such as "exp_avg": as many elements as the tensor, in place, of the type that
// Stored gives it, else of that which is calculated with: float64 for a value of float64, and float32 for others. State that a tensor has once, as
// NovoGrad's exp_avg_sq, is one float64. What its rows or columns have, as Adafactor's row_var, is as many numbers as these are, of the type that is
// calculated with. A master or remainder beside a
// value of 16 bits is the state "master" or "remainder": see Stored.Master. "ema" is what Averaged keeps, "grad_accumulator" what Accumulate adds to.
// What is written to it counts from the next step on. The buffer is closed with the optimizer, or when the tensor is removed.
func (o *Optimizer) State(tensor, slot string) (*device.Buffer, error) {
	p, err := o.tensor("state", tensor)
	if err != nil {
		return nil, err
	}
	for _, u := range p.stored() {
		if u.what == slot {
			return u.b, nil
		}
	}
	return nil, p.errorf("has no state %q, only %q", slot, p.stateNames())
}

// States are all of a tensor's state, by PyTorch's names for it: the buffers that State returns.
func (o *Optimizer) States(tensor string) (iter.Seq2[string, *device.Buffer], error) {
	p, err := o.tensor("states", tensor)
	if err != nil {
		return nil, err
	}
	return func(yield func(string, *device.Buffer) bool) {
		for _, u := range p.stored() {
			if !yield(u.what, u.b) {
				return
			}
		}
	}, nil
}

func (p *param) stateNames() (out []string) {
	for _, u := range p.stored() {
		out = append(out, u.what)
	}
	return out
}

// StateNames lists the state that each tensor of a group has. A group without tensors has none.
func (o *Optimizer) StateNames(group int) ([]string, error) {
	g, err := o.group("state names", group)
	if err != nil || len(g.params) == 0 {
		return nil, err
	}
	return g.params[0].stateNames(), nil
}
