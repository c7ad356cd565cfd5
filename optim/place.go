package optim

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fusestep/fusestep/device"
)

// Placed is parameters that the host computes with, and their buffers on a device. Make it with Place.
type Placed[F device.Float] struct {
	stream  *device.Stream
	values  map[string][]F
	grads   map[string][]F
	buffers map[string]Param
	names   []string // in order
	copied  bool

	evaluated []string // the tensors whose values are what Evaluate has put there
}

// hostValue is the host's slice of a tensor of Placed.
type hostValue struct {
	training func(what string) error // fails where it has what Evaluate has put there
	download func() error            // brings the value to it, and waits
}

// Download brings the value to the host's slice, where Placed.Params has made the Param, for who has written to the buffer. It fails between Evaluate
// and Resume. It does nothing to any other Param. LoadStateDict and the Fill of checkpoint's Weights call it.
func (p Param) Download() error {
	if p.host == nil {
		return nil
	}
	if err := p.host.training("download"); err != nil {
		return err
	}
	if err := p.host.download(); err != nil {
		return fmt.Errorf("optim: download: tensor %q: %w", p.Name, err)
	}
	return nil
}

// Place brings the host's parameters to a device, by name: values, and the slices where their gradients will be, of the same
// lengths. Where grads has no slice for a value, Place makes one: see Grad. On a CPU the buffers are the slices' own memory, and
// nothing is ever copied; on any other device Step and Evaluate copy, on the device's default stream.
//
//	model, err := optim.Place(dev, map[string][]float32{"weight": w, "bias": b}, nil)
//	opt, err := optim.New(dev, optim.DefaultAdamW(), model.Params())
//	for range steps {
//		gradient(w, b, model.Grad("weight"), model.Grad("bias"))
//		err = model.Step(opt)
//	}
//
// The values are the host's between the calls, to read and to write: on a device that copies, what was written counts after
// Upload.
func Place[F device.Float](b Backend, values, grads map[string][]F) (*Placed[F], error) {
	if isNil(b) || b.Device() == nil {
		return nil, errors.New("optim: place: the backend is nil")
	}
	dev := b.Device()
	p := &Placed[F]{stream: dev.DefaultStream(), values: maps.Clone(values), grads: map[string][]F{}, buffers: map[string]Param{},
		names: slices.Sorted(maps.Keys(values)), copied: true}
	buffer := func(x []F) (*device.Buffer, error) { return dev.Alloc(device.DTypeOf[F](), len(x)) }
	if c, ok := b.(interface {
		WrapSlice(x any) (*device.Buffer, error)
	}); ok {
		p.copied = false
		buffer = func(x []F) (*device.Buffer, error) { return c.WrapSlice(x) }
	}
	for name := range grads {
		if _, ok := values[name]; !ok {
			return nil, fmt.Errorf("optim: place: there is a gradient of %q, and no value", name)
		}
	}
	for _, name := range p.names {
		t := Param{Name: name, host: &hostValue{p.training, func() error { return p.copy(p.download, name) }}}
		g, ok := grads[name]
		if !ok {
			g = make([]F, len(values[name]))
		}
		p.grads[name] = g
		var err error
		if t.Value, err = buffer(values[name]); err == nil {
			t.Grad, err = buffer(g)
		}
		p.buffers[name] = t
		if err == nil && len(g) != len(values[name]) {
			err = &device.LengthError{What: "grad", Got: len(g), Ref: "value", Want: len(values[name])}
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("optim: place: tensor %q: %w", name, err), p.Close())
		}
	}
	if err := p.Upload(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Params are the tensors of the names, for New and AddGroup, or all in order of their names if there is none. What has no such
// name is a Param without a Value, which New refuses by its name.
func (p *Placed[F]) Params(names ...string) (out []Param) {
	if len(names) == 0 {
		names = p.names
	}
	for _, name := range names {
		t := p.buffers[name]
		t.Name = name
		out = append(out, t)
	}
	return out
}

// SetShape says what shape a tensor has: that of the Params from then on.
func (p *Placed[F]) SetShape(name string, shape ...int) error {
	t, ok := p.buffers[name]
	if !ok {
		return fmt.Errorf("optim: set shape: there is no tensor %q", name)
	}
	if n, ok := elementsOf(shape); !ok || n != len(p.values[name]) {
		return fmt.Errorf("optim: set shape: tensor %q: %w", name, &ShapeError{Shape: slices.Clone(shape), Elements: len(p.values[name])})
	}
	t.Shape = slices.Clone(shape)
	p.buffers[name] = t
	return nil
}

// Grad is where the host writes a tensor's gradient before Step. It is nil if there is no such tensor.
func (p *Placed[F]) Grad(name string) []F { return p.grads[name] }

// Stream is the device's default stream, on which Step and Evaluate work.
func (p *Placed[F]) Stream() *device.Stream { return p.stream }

// Upload brings the values to the device that the host has written. It fails between Evaluate and Resume.
func (p *Placed[F]) Upload() error {
	if err := p.training("upload"); err != nil {
		return err
	}
	return p.copy(func(name string) error { return device.Upload(p.stream, p.buffers[name].Value, p.values[name]) }, p.names...)
}

func (p *Placed[F]) download(name string) error {
	return device.Download(p.stream, p.values[name], p.buffers[name].Value)
}

// copy does something for tensors, where there are copies, and waits.
func (p *Placed[F]) copy(f func(name string) error, names ...string) error {
	var err error
	if p.copied {
		for _, name := range names {
			if err = f(name); err != nil {
				break
			}
		}
	}
	return errors.Join(err, p.stream.Synchronize())
}

// Step takes a step of the optimizer with the gradients that the host has written, brings the values back and waits for them. It
// fails between Evaluate and Resume.
func (p *Placed[F]) Step(opt *Optimizer) error {
	if err := p.training("step"); err != nil {
		return err
	}
	if err := opt.open("step"); err != nil {
		return err
	}
	if !opt.common.accumulate {
		if err := p.uploadGrads(); err != nil {
			return err
		}
	}
	if err := opt.Step(p.stream); err != nil {
		return errors.Join(err, p.stream.Synchronize()) // what was enqueued reads the slices
	}
	err := p.copy(p.download, p.names...)
	if err == nil && !opt.common.accumulate {
		p.zeroed(opt)
	}
	return err
}

// Accumulate is Optimizer.Accumulate of the gradients that the host has written, which it may overwrite when the call has returned. It fails
// between Evaluate and Resume.
func (p *Placed[F]) Accumulate(opt *Optimizer) error {
	if err := p.training("accumulate"); err != nil {
		return err
	}
	if err := opt.open("accumulate"); err != nil {
		return err
	}
	if err := p.uploadGrads(); err != nil {
		return err
	}
	if err := errors.Join(opt.Accumulate(p.stream), p.stream.Synchronize()); err != nil {
		return err
	}
	p.zeroed(opt)
	return nil
}

func (p *Placed[F]) uploadGrads() error {
	if !p.copied {
		return nil
	}
	for _, name := range p.names {
		if err := device.Upload(p.stream, p.buffers[name].Grad, p.grads[name]); err != nil {
			return err
		}
	}
	return nil
}

// zeroed sets to 0 what SetZeroGrad has set to 0 on the device.
func (p *Placed[F]) zeroed(opt *Optimizer) {
	if !p.copied || !opt.common.zeroGrad {
		return
	}
	for _, name := range p.names {
		if q := opt.names[name]; q != nil && q.Grad == p.buffers[name].Grad {
			clear(p.grads[name])
		}
	}
}

// Evaluate puts what the optimizer wants its tensors to be evaluated with in the place of the host's values, until Resume. The
// values wait where the gradients are. Tensors that the optimizer does not have keep their values.
func (p *Placed[F]) Evaluate(opt *Optimizer) error {
	if err := p.training("evaluate"); err != nil {
		return err
	}
	if err := opt.open("evaluate"); err != nil {
		return err
	}
	to := map[string]*device.Buffer{}
	for name, t := range p.buffers {
		if opt.names[name] != nil {
			to[name] = t.Grad // no gradient is needed before the next one is made
		}
	}
	if len(to) == 0 && len(p.buffers) > 0 {
		return errors.New("optim: evaluate: the optimizer has none of the tensors")
	}
	if err := opt.EvalParams(p.stream, to); err != nil {
		return err
	}
	if err := p.copy(func(name string) error { return device.Download(p.stream, p.grads[name], p.buffers[name].Grad) }, p.names...); err != nil {
		return err
	}
	for name := range to {
		p.swap(name)
		p.evaluated = append(p.evaluated, name)
	}
	return nil
}

// Resume puts the values back, and sets the gradients of the tensors that were evaluated to 0. Without Evaluate before it it does
// nothing.
func (p *Placed[F]) Resume() {
	for _, name := range p.evaluated {
		p.swap(name)
		clear(p.grads[name])
	}
	p.evaluated = nil
}

// training fails where the host's values are those of Evaluate.
func (p *Placed[F]) training(what string) error {
	if len(p.evaluated) > 0 {
		return fmt.Errorf("optim: %s: the values are those of Evaluate: Resume is missing", what)
	}
	return nil
}

// swap exchanges a tensor's values with its gradients.
func (p *Placed[F]) swap(name string) {
	x, g := p.values[name], p.grads[name]
	for k := range x {
		x[k], g[k] = g[k], x[k]
	}
}

// Close frees the buffers. The optimizer is closed first. Slices stay.
func (p *Placed[F]) Close() error {
	var errs []error
	for _, name := range p.names {
		for _, b := range []*device.Buffer{p.buffers[name].Grad, p.buffers[name].Value} {
			if b != nil {
				errs = append(errs, b.Close())
			}
		}
	}
	return errors.Join(errs...)
}
