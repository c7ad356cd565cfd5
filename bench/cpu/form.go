package main

import (
	"fmt"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// form is how memory holds what a step works on.
type form struct {
	name          string
	value, grad   device.DType
	stored        optim.Stored // all but the algorithm
	least, faster float64      // goals: of the form's own ceiling, and of float32's parameters a second; 0 is none
	columns       int          // of the matrices that tensors are; 0: they have one axis
	clipping      float64      // of adaptive clipping; 0 is off
}

// shape is that of a tensor of n elements.
func (f form) shape(n int) []int {
	if f.columns == 0 {
		return []int{n}
	}
	return []int{n / f.columns, f.columns}
}

func (f form) shapes(lengths []int) (out [][]int) {
	for _, n := range lengths {
		out = append(out, f.shape(n))
	}
	return out
}

var float32Form = form{name: "f32", value: device.Float32, grad: device.Float32}

// forms are those of 16 bits.
var forms = []form{
	{name: "bf16, f32 states", value: device.BFloat16, grad: device.BFloat16, least: 0.95, faster: 1.2},
	{name: "bf16 + f32 master", value: device.BFloat16, grad: device.BFloat16, stored: optim.Stored{Master: optim.MasterFloat32}, least: 0.95},
	{name: "bf16 + remainder", value: device.BFloat16, grad: device.BFloat16, stored: optim.Stored{Master: optim.MasterRemainder}, least: 0.95},
	{name: "bf16 + remainder8", value: device.BFloat16, grad: device.BFloat16, stored: optim.Stored{Master: optim.MasterRemainder8}, least: 0.95},
	{name: "bf16", value: device.BFloat16, grad: device.BFloat16, stored: optim.Stored{All: device.BFloat16}, least: 0.95, faster: 1.85},
	{name: "bf16, stochastic", value: device.BFloat16, grad: device.BFloat16, stored: optim.Stored{All: device.BFloat16, Stochastic: true}, least: 0.9},
}

// of is an algorithm in the form.
func (f form) of(a optim.Algorithm) optim.Algorithm {
	f.stored.Algorithm = a
	return f.stored
}

// formGroup holds steps in a form to their ceiling, and to the same rule's in float32.
func formGroup(name, large string, f form, alg optim.Algorithm, n, threads int) group {
	goals := []goal{{other: "ceiling", least: f.least}, {other: "f32", least: f.faster, what: "parameters a second against f32's"}}
	if f.faster == 0 {
		goals[1].what += " (no goal)"
	}
	return group{name: fmt.Sprintf("%s in %s, %s, %s", name, f.name, large, plural(threads, "thread")), goals: goals, make: func(_ *peers, m *match) error {
		s, err := m.add("fusestep", f, alg, []int{n}, threads, "")
		if err != nil {
			return err
		}
		m.contenders = append(m.contenders, s.ceiling())
		_, err = m.add("f32", float32Form, alg, []int{n}, threads, "")
		return err
	}}
}
