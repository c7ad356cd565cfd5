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
	slots   []int    // those that the program reads or writes
	written []int    // those that it writes
	state   []string // the names of those that are state
	bytes   int      // moved by a step, per parameter
}

func (o optimizer) plan(t device.DType) (plan, error) {
	s, err := o.Algorithm.Setting()
	if err != nil {
		return plan{}, err
	}
	p := plan{setting: s, program: kernels.ProgramOf(s, t)}
	if p.slots, err = p.program.Used(); err != nil {
		return plan{}, err
	}
	if _, p.written, err = p.program.Slots(); err != nil {
		return plan{}, err
	}
	if p.state, err = p.program.State(); err != nil {
		return plan{}, err
	}
	p.bytes, err = p.program.BytesPerElement()
	return p, err
}
