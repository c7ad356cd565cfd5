package kernels

import "github.com/fusestep/fusestep/kernels/rule"

// Fill is what a pass sums: a field of its graph, of bank rule.TensorBank, how, and the word of Tensor.Sums that gets it.
type Fill struct {
	Var  int
	Kind rule.Fill
	Word int
}
