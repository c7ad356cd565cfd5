package main

import (
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// optimizer is a case to measure: an algorithm with the options that change what a step moves.
type optimizer struct {
	name      string // the algorithm's, and the options'
	doc       string
	algorithm optim.Algorithm
}

// optimizers are the values of -optimizer. Hyperparameters are PyTorch's defaults where it has any: what a step costs does
// not depend on them, only on the options that they turn on.
func optimizers() []optimizer {
	momentum := optim.DefaultSGD()
	momentum.Momentum = 0.9
	nesterov := momentum
	nesterov.Nesterov = true
	adamAMSGrad := optim.DefaultAdam()
	adamAMSGrad.AMSGrad = true
	adamwAMSGrad := optim.DefaultAdamW()
	adamwAMSGrad.AMSGrad = true
	return []optimizer{
		{"sgd", "stochastic gradient descent", optim.DefaultSGD()},
		{"sgd-momentum", "SGD with momentum 0.9", momentum},
		{"sgd-nesterov", "SGD with Nesterov momentum 0.9", nesterov},
		{"adam", "Adam", optim.DefaultAdam()},
		{"adam-amsgrad", "Adam with AMSGrad", adamAMSGrad},
		{"adamw", "Adam with decoupled weight decay 0.01", optim.DefaultAdamW()},
		{"adamw-amsgrad", "AdamW with AMSGrad", adamwAMSGrad},
	}
}

func optimizerNames() (out []string) {
	for _, o := range optimizers() {
		out = append(out, o.name)
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
	s, err := o.algorithm.Setting()
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

// state names the slots that are neither parameter nor gradient.
func (p plan) state() (out []string) {
	for _, k := range p.slots {
		if name := p.setting.Rule.Slots[k]; name != rule.Param && name != rule.Grad {
			out = append(out, name)
		}
	}
	return out
}
