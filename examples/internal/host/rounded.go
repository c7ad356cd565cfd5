package host

import (
	"errors"
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// Trained is parameters that an optimizer trains: an *optim.Placed, or a *Rounded.
type Trained interface {
	Params(names ...string) []optim.Param
	Step(*optim.Optimizer) error
	Evaluate(*optim.Optimizer) error
	Resume()
	Close() error
}

// Rounded is parameters that the host computes with in float32, and that a device holds in 16 bits, gradients too: the model calculates with
// the rounded weights, as one does whose weights are in 16 bits.
type Rounded struct {
	stream *device.Stream
	params []Param[float32]
	held   []optim.Param
	kept   [][]float32 // the values while the model is evaluated; nil while it is trained
}

// PlaceAs brings the host's parameters to a device, rounded to a type. The host's values become the rounded ones.
func PlaceAs(b optim.Backend, t device.DType, params ...Param[float32]) (*Rounded, error) {
	dev := b.Device()
	r := &Rounded{stream: dev.DefaultStream(), params: params}
	for _, p := range params {
		held := optim.Param{Name: p.Name, Shape: p.Shape}
		var err error
		if held.Value, err = dev.Alloc(t, len(p.Value)); err == nil {
			held.Grad, err = dev.Alloc(t, len(p.Grad))
		}
		r.held = append(r.held, held)
		if err == nil {
			err = device.UploadFloats(r.stream, held.Value, p.Value)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("tensor %q: %w", p.Name, err), r.Close())
		}
	}
	return r, r.download(func(k int) *device.Buffer { return r.held[k].Value })
}

// Params are all the tensors.
func (r *Rounded) Params(...string) []optim.Param { return r.held }

func (r *Rounded) download(from func(k int) *device.Buffer) error {
	for k, p := range r.params {
		if err := device.DownloadFloats(r.stream, p.Value, from(k)); err != nil {
			return err
		}
	}
	return nil
}

// Step takes a step with the gradients that the host has written, rounded, and brings the values back.
func (r *Rounded) Step(opt *optim.Optimizer) error {
	for k, p := range r.params {
		if err := device.UploadFloats(r.stream, r.held[k].Grad, p.Grad); err != nil {
			return err
		}
	}
	if err := opt.Step(r.stream); err != nil {
		return err
	}
	return r.download(func(k int) *device.Buffer { return r.held[k].Value })
}

// Evaluate puts what the optimizer wants its tensors to be evaluated with in the place of the host's values, until Resume.
func (r *Rounded) Evaluate(opt *optim.Optimizer) error {
	to := map[string]*device.Buffer{}
	for k, p := range r.params {
		r.kept = append(r.kept, append([]float32(nil), p.Value...))
		to[p.Name] = r.held[k].Grad // no gradient is needed before the next one is made
	}
	if err := opt.EvalParams(r.stream, to); err != nil {
		return err
	}
	return r.download(func(k int) *device.Buffer { return r.held[k].Grad })
}

// Resume puts the values back.
func (r *Rounded) Resume() {
	for k, x := range r.kept {
		copy(r.params[k].Value, x)
	}
	r.kept = nil
}

// Close frees the buffers. The optimizer is closed first.
func (r *Rounded) Close() error {
	var errs []error
	for _, p := range r.held {
		for _, b := range []*device.Buffer{p.Grad, p.Value} {
			if b != nil {
				errs = append(errs, b.Close())
			}
		}
	}
	return errors.Join(errs...)
}
