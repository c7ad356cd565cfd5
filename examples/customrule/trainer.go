package main

import (
	"errors"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// trainer is one tensor on a device, with its optimizer and a copy of its values on the host.
type trainer[F rule.Float] struct {
	host, grad []F
	placed     *optim.Placed[F]
	opt        *optim.Optimizer
}

func newTrainer[F rule.Float](backend optim.Backend, alg optim.Algorithm, start []F) (*trainer[F], error) {
	tr := &trainer[F]{host: start, grad: make([]F, len(start))}
	var err error
	if tr.placed, err = optim.Place(backend, map[string][]F{"p": tr.host}, map[string][]F{"p": tr.grad}); err != nil {
		return nil, err
	}
	if tr.opt, err = optim.New(backend, alg, tr.placed.Params()); err != nil {
		return nil, errors.Join(err, tr.placed.Close())
	}
	return tr, nil
}

// step updates the parameters by a gradient and fetches them.
func (tr *trainer[F]) step(g []F) error {
	copy(tr.grad, g)
	return tr.placed.Step(tr.opt)
}

// state fetches a state of the rule by its slot's name.
func (tr *trainer[F]) state(slot string) ([]F, error) {
	b, err := tr.opt.State("p", slot)
	if err != nil {
		return nil, err
	}
	out := make([]F, b.Len())
	return out, device.DownloadFloats(tr.placed.Stream(), out, b)
}

// close waits for the work and frees everything.
func (tr *trainer[F]) close() error { return errors.Join(tr.opt.Close(), tr.placed.Close()) }
