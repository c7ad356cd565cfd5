package host

import (
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// Param is a tensor to train and its gradient, in host memory.
type Param[F rule.Float] struct {
	Name        string
	Value, Grad []F // of one length
}

// Place is optim.Place of a model's parameters.
func Place[F rule.Float](b optim.Backend, params ...Param[F]) (*optim.Placed[F], error) {
	values, grads := map[string][]F{}, map[string][]F{}
	for _, p := range params {
		values[p.Name], grads[p.Name] = p.Value, p.Grad
	}
	return optim.Place(b, values, grads)
}
