package gorgonia_test

import "gorgonia.org/gorgonia"

// param is a gorgonia.ValueGrad with any value and gradient.
type param struct {
	name        string
	value, grad gorgonia.Value
}

func (p *param) Name() string                  { return p.name }
func (p *param) Value() gorgonia.Value         { return p.value }
func (p *param) Grad() (gorgonia.Value, error) { return p.grad, nil }
