package main

import (
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

// plan is what an optimizer does on elements of some types.
type plan struct {
	algorithm optim.Algorithm
	setting   rule.Setting
	program   *kernels.Program
}
