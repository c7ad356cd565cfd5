package main

import (
	"errors"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// trainer is one tensor on a device, with its optimizer and a copy of its values on the host.
type trainer[F rule.Float] struct {
	host        []F
	stream      *device.Stream
	value, grad *device.Buffer
	opt         *optim.Optimizer
}

func newTrainer[F rule.Float](backend kernels.Backend, t device.DType, alg optim.Algorithm, start []F) (*trainer[F], error) {
	dev := backend.Device()
	tr := &trainer[F]{host: start, stream: dev.DefaultStream()}
	var err error
	if tr.value, err = dev.Alloc(t, len(start)); err != nil {
		return nil, err
	}
	if tr.grad, err = dev.Alloc(t, len(start)); err != nil {
		return nil, errors.Join(err, tr.close())
	}
	tr.opt, err = optim.New(backend, alg, []optim.Param{{Name: "p", Value: tr.value, Grad: tr.grad}})
	if err == nil {
		err = device.Upload(tr.stream, tr.value, start)
	}
	if err != nil {
		return nil, errors.Join(err, tr.close())
	}
	return tr, nil
}

// step updates the parameters by a gradient and fetches them.
func (tr *trainer[F]) step(g []F) error {
	if err := device.Upload(tr.stream, tr.grad, g); err != nil {
		return err
	}
	if err := tr.opt.Step(tr.stream); err != nil {
		return err
	}
	if err := device.Download(tr.stream, tr.host, tr.value); err != nil {
		return err
	}
	return tr.stream.Synchronize()
}

// state fetches a state of the rule by its slot's name.
func (tr *trainer[F]) state(slot string) ([]F, error) {
	b, err := tr.opt.State("p", slot)
	if err != nil {
		return nil, err
	}
	out := make([]F, b.Len())
	if err := device.Download(tr.stream, out, b); err != nil {
		return nil, err
	}
	return out, tr.stream.Synchronize()
}

// close waits for the work and frees everything.
func (tr *trainer[F]) close() error {
	var errs []error
	if tr.opt != nil {
		errs = append(errs, tr.opt.Close())
	}
	for _, b := range []*device.Buffer{tr.grad, tr.value} {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	return errors.Join(errs...)
}
