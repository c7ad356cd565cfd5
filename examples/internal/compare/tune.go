package compare

import (
	"fmt"
	"io"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// grid is the learning rates that -tune tries.
var grid = []float64{1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 3, 10, 30, 100, 300}

// tune prints the learning rate of the grid with which each optimizer ends at the least loss over the rows that it learns from;
// held-out data has no say. Each line is one of a table of learning rates, with the loss in the third column.
func (p *Problem) tune(w io.Writer, b kernels.Backend, cases []optim.Case, seed uint64, epochs int) error {
	for _, c := range cases {
		best, least := 0.0, 0.0
		for _, lr := range grid {
			run, err := p.Train(b, c, Precision{}, lr, seed, epochs, nil)
			if err != nil {
				return err
			}
			if loss := run.Loss[epochs]; best == 0 && loss == loss || loss < least {
				best, least = lr, loss
			}
		}
		fmt.Fprintf(w, "%s,%v,%.4g\n", c.Name, best, least)
	}
	return nil
}
