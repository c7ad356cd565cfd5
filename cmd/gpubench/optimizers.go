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
	program kernels.Program
	slots   []int // those that the program reads or writes
	bytes   int   // moved by a step, per parameter
}

func (o optimizer) plan(t device.DType) (plan, error) {
	s, err := o.Algorithm.Setting()
	if err != nil {
		return plan{}, err
	}
	p := plan{setting: s, program: kernels.Program{Rule: s.Rule, Options: s.Options, DType: t}}
	loads, stores, err := p.program.Slots()
	if err != nil {
		return plan{}, err
	}
	used := make([]bool, len(s.Rule.Slots))
	for _, k := range append(loads, stores...) {
		used[k] = true
	}
	for k, u := range used {
		if u {
			p.slots = append(p.slots, k)
		}
	}
	p.bytes, err = p.program.BytesPerElement()
	return p, err
}
