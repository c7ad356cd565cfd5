package main

import (
	"errors"

	"github.com/fusestep/fusestep/examples/internal/batches"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// train minimises the objective on the device and returns the standardised coefficients, the intercept first.
func train[F rule.Float](backend optim.Backend, s *standard, p *plan) (coef []float64, err error) {
	n := 1 + len(s.columns)
	b, g := make([]F, n), make([]F, n)
	for j := range b {
		b[j] = start
	}
	placed, err := optim.Place(backend, map[string][]F{"coefficients": b}, map[string][]F{"coefficients": g})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, placed.Close()) }()
	opt, err := newOptimizer(backend, p, placed.Params()[0])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, opt.Close()) }()

	rows, d := batches.New(p.rows, p.batch, p.seed), newDesign[F](s)
	for range p.steps {
		d.gradient(g, b, rows.Take())
		if err := placed.Step(opt); err != nil {
			return nil, err
		}
	}
	for _, x := range b {
		coef = append(coef, float64(x))
	}
	return coef, nil
}

// newOptimizer makes two parameter groups over parts of one buffer: the intercept is its first element.
func newOptimizer(backend optim.Backend, p *plan, all optim.Param) (*optim.Optimizer, error) {
	slopes, err := part("slopes", all, 1, all.Value.Len())
	if err != nil {
		return nil, err
	}
	intercept, err := part("intercept", all, 0, 1)
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

func part(name string, all optim.Param, i, j int) ([]optim.Param, error) {
	v, err := all.Value.Slice(i, j)
	if err != nil {
		return nil, err
	}
	g, err := all.Grad.Slice(i, j)
	if err != nil {
		return nil, err
	}
	return []optim.Param{{Name: name, Value: v, Grad: g}}, nil
}
