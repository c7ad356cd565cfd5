package host

import (
	"errors"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// Param is a tensor to train and its gradient, in host memory.
type Param[F rule.Float] struct {
	Name        string
	Value, Grad []F // of one length
}

// Placed is parameters that are also on a device.
type Placed[F rule.Float] struct {
	Stream *device.Stream // the device's default stream
	host   []Param[F]
	there  []optim.Param // the same memory on a CPU
	copied bool
}

// Place brings the parameters to the device. A CPU's buffers are the host memory itself, and nothing is ever copied.
func Place[F rule.Float](b kernels.Backend, params ...Param[F]) (*Placed[F], error) {
	dev := b.Device()
	p := &Placed[F]{Stream: dev.DefaultStream(), host: params, copied: true}
	buffer := func(x []F) (*device.Buffer, error) { return dev.Alloc(device.DTypeOf[F](), len(x)) }
	if c, ok := b.(*cpu.Device); ok {
		p.copied = false
		buffer = func(x []F) (*device.Buffer, error) { return cpu.Wrap(c, x) }
	}
	for _, h := range params {
		p.there = append(p.there, optim.Param{Name: h.Name})
		t := &p.there[len(p.there)-1]
		var err error
		if t.Value, err = buffer(h.Value); err == nil {
			t.Grad, err = buffer(h.Grad)
		}
		if err == nil && p.copied {
			err = device.Upload(p.Stream, t.Value, h.Value)
		}
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

// Params are the parameters on the device, for optim.New.
func (p *Placed[F]) Params() []optim.Param { return p.there }

// Step updates the parameters there and here by the gradients that the host has made. It waits only at its end.
func (p *Placed[F]) Step(opt *optim.Optimizer) error {
	if p.copied {
		for i, h := range p.host {
			if err := device.Upload(p.Stream, p.there[i].Grad, h.Grad); err != nil {
				return err
			}
		}
	}
	if err := opt.Step(p.Stream); err != nil {
		return err
	}
	if p.copied {
		for i, h := range p.host {
			if err := device.Download(p.Stream, h.Value, p.there[i].Value); err != nil {
				return err
			}
		}
	}
	return p.Stream.Synchronize()
}

// Evaluate puts what the optimizer wants the parameters to be evaluated with in the place of the host's values, until Resume.
func (p *Placed[F]) Evaluate(opt *optim.Optimizer) error {
	to := map[string]*device.Buffer{}
	for _, t := range p.there {
		to[t.Name] = t.Grad // no gradient is needed before the next one is made
	}
	if err := opt.EvalParams(p.Stream, to); err != nil {
		return err
	}
	if p.copied {
		for i, h := range p.host {
			if err := device.Download(p.Stream, h.Grad, p.there[i].Grad); err != nil {
				return err
			}
		}
	}
	if err := p.Stream.Synchronize(); err != nil {
		return err
	}
	p.Resume()
	return nil
}

// Resume puts the values back that Evaluate has put where the gradients are.
func (p *Placed[F]) Resume() {
	for _, h := range p.host {
		for k := range h.Value {
			h.Value[k], h.Grad[k] = h.Grad[k], h.Value[k]
		}
	}
}

// Close frees the buffers, after the optimizer has been closed.
func (p *Placed[F]) Close() error {
	var errs []error
	for _, t := range p.there {
		for _, b := range []*device.Buffer{t.Grad, t.Value} {
			if b != nil {
				errs = append(errs, b.Close())
			}
		}
	}
	return errors.Join(errs...)
}
