package main

import (
	"errors"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// train minimises the objective on the device and returns the standardised coefficients, the intercept first.
func train[F rule.Float](backend kernels.Backend, s *standard, p *plan) (coef []float64, err error) {
	dev := backend.Device()
	n := 1 + len(s.columns)
	value, err := dev.Alloc(p.dtype, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, value.Close()) }()
	grad, err := dev.Alloc(p.dtype, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, grad.Close()) }()

	opt, err := newOptimizer(backend, p, value, grad)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, opt.Close()) }()

	b, g := make([]F, n), make([]F, n)
	for j := range b {
		b[j] = start
	}
	stream := dev.DefaultStream()
	if err := device.Upload(stream, value, b); err != nil {
		return nil, err
	}
	rows, d := newBatches(p.rows, p.batch, p.seed), newDesign[F](s)
	for range p.steps {
		d.gradient(g, b, rows.take())
		if err := step(stream, opt, grad, g, value, b); err != nil {
			return nil, err
		}
	}
	for _, x := range b {
		coef = append(coef, float64(x))
	}
	return coef, nil
}

// newOptimizer makes two parameter groups over parts of one buffer: the intercept is its first element.
func newOptimizer(backend kernels.Backend, p *plan, value, grad *device.Buffer) (*optim.Optimizer, error) {
	slopes, err := part("slopes", value, grad, 1, value.Len())
	if err != nil {
		return nil, err
	}
	intercept, err := part("intercept", value, grad, 0, 1)
	if err != nil {
		return nil, err
	}
	penalised, plain := p.algorithms()
	opt, err := optim.New(backend, penalised, slopes)
	if err != nil {
		return nil, err
	}
	if err := opt.AddGroup(plain, intercept); err != nil {
		return nil, errors.Join(err, opt.Close())
	}
	if err := opt.SetSchedule(p); err != nil {
		return nil, errors.Join(err, opt.Close())
	}
	return opt, nil
}

func part(name string, value, grad *device.Buffer, i, j int) ([]optim.Param, error) {
	v, err := value.Slice(i, j)
	if err != nil {
		return nil, err
	}
	g, err := grad.Slice(i, j)
	if err != nil {
		return nil, err
	}
	return []optim.Param{{Name: name, Value: v, Grad: g}}, nil
}

// step brings the gradients to the device, updates the parameters there and fetches them: the only thing that waits is
// the last line.
func step[F rule.Float](s *device.Stream, opt *optim.Optimizer, grad *device.Buffer, g []F, value *device.Buffer, b []F) error {
	if err := device.Upload(s, grad, g); err != nil {
		return err
	}
	if err := opt.Step(s); err != nil {
		return err
	}
	if err := device.Download(s, b, value); err != nil {
		return err
	}
	return s.Synchronize()
}
