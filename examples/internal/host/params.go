package host

import (
	"errors"

	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// Param is a tensor to train and its gradient, in host memory.
type Param[F rule.Float] struct {
	Name        string
	Value, Grad []F   // of one length
	Shape       []int // nil: one axis. Optimizers with numbers of rows and columns, as Adafactor, look at it.
}

// Place is optim.Place of a model's parameters.
func Place[F rule.Float](b optim.Backend, params ...Param[F]) (*optim.Placed[F], error) {
	values, grads := map[string][]F{}, map[string][]F{}
	for _, p := range params {
		values[p.Name], grads[p.Name] = p.Value, p.Grad
	}
	placed, err := optim.Place(b, values, grads)
	if err != nil {
		return nil, err
	}
	for _, p := range params {
		if p.Shape == nil {
			continue
		}
		if err := placed.SetShape(p.Name, p.Shape...); err != nil {
			return nil, errors.Join(err, placed.Close())
		}
	}
	return placed, nil
}
