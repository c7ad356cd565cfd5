// Package compare is what the examples that learn something have in common: it trains a model with each optimizer that
// the command line names, from the same initial weights on the same batches, holds the results against those of other
// libraries, and draws the losses.
//
// # How the learning rates were chosen
//
// Each optimizer has the learning rate of 1, 3, 10, 30, …, from 1e-4 to 300, with which it ends at the least loss over the rows
// that it learns from, with seed 1 after the example's epochs. Held-out data had no say in it. All other hyperparameters are
// those of optim.Cases. Flag -tune makes the lines of the table, reference/NAME.csv. So a comparison says how well an optimizer
// does at its best learning rate and without a schedule, on a small problem; it says nothing of what is easy to tune or best
// at scale. An optimizer without a line keeps its own learning rate. Sophia is given no Hessian here, which leaves a momentum's sign;
// the schedule-free ones are evaluated at their average.
//
// # The other libraries
//
// Torch, or optax for what torch has not, trained the same models in float64 from the same float32 weights on the same
// batches, with gradients by torch's automatic differentiation. The scripts are each example's, such as
// examples/bigram/reference/reference.py, and libraries.py here, which repeats Go's generator of random numbers. A run is held
// against their curves after every epoch. How far rounding to float32 may take it was measured there, by disturbing the run in
// float64: see Curve and Curve.Check.
package compare

import (
	"io"

	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Model is parameters and a loss, the mean over rows of data.
type Model[F rule.Float] interface {
	// Params are the tensors to train, and their gradients, which Gradient fills.
	Params() []host.Param[F]
	// Gradient makes the gradients of the loss over the rows.
	Gradient(rows []int)
	Loss(rows []int) float64
	// Quality is a figure of the held-out data.
	Quality() float64
	// Show prints a glimpse of what the model has learned.
	Show(w io.Writer)
}

// Problem is what an example trains and with what.
type Problem struct {
	Title    string // the model and its data, in a line
	New      func(seed uint64) Model[float32]
	Rows     int // to learn from
	Batch    int
	Epochs   int                // of a run without -epochs
	Loss     string             // what it is
	Unit     string             // of the loss
	Quality  string             // what Quality is, with its unit
	Best     float64            // the least loss there can be, if that is known: plots show what is above it
	Rates    map[string]float64 // learning rates; an optimizer that is not here keeps its own
	Expected *Reference         // nil if there is none
	Beside   []Baseline         // for the table
	Inputs   []string           // files that were read, which the picture must not replace
}

// Baseline is what something else than an optimizer of ours reaches.
type Baseline struct {
	Name          string
	Loss, Quality float64
}
