package main

import (
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// optimizer is a case to measure.
type optimizer struct{ optim.Case }

// optimizers are the values of -optimizer.
func optimizers() (out []optimizer) {
	for _, c := range optim.Cases() {
		out = append(out, optimizer{c})
	}
	return out
}

func optimizerNames() (out []string) {
	for _, o := range optimizers() {
		out = append(out, o.Name)
	}
	return out
}

// plan is what an optimizer does on elements of one type.
type plan struct {
	setting rule.Setting
	program *kernels.Program
}

func (o optimizer) plan(t device.DType) (plan, error) {
	s, err := o.Algorithm.Setting()
	if err != nil {
		return plan{}, err
	}
	p, err := kernels.New(kernels.SpecOf(s, t))
	return plan{s, p}, err
}
