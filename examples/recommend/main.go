// Recommend learns who likes what, by matrix factorisation, with any of the optimizers.
//
//	recommend [-optimizer name,…|all] [-device cpu|cuda|cuda:N|emu] [-seed n] [-epochs n] [-lr x] [-plot file.png] [-tune]
//
// The data are what 1,276 people think of 40 countries' cuisines, from 1 to 5 points: a survey of FiveThirtyEight's
// (data/README.md). Half of the table is empty, as few people know all. Every tenth of the 23,943 ratings is held out.
//
// A rating is predicted as the mean of all, plus a number for the person, plus one for the cuisine, plus the product of two vectors of
// 4 numbers: the person's and the cuisine's. What is minimised is the mean, over ratings, of half the squared error and 0.05 times
// the squares of the ten numbers that predict it. This program makes the gradients, in float32 (model.go); the optimizer runs on the
// device, where the 6,580 parameters live. The result is the same on every device, to the last bit.
//
// With one optimizer the loss and the root of the mean squared error (RMSE) of the held-out ratings are printed after every
// epoch, and in the end which cuisines people like alike; with several, a line for each. To the right is what torch or optax
// reaches with the same optimizer, weights and batches; the exit status is 1 if a run differs by more than rounding can
// explain, and 2 for wrong flags. Package compare says how that is known, and how the learning rates were chosen.
//
// # What can be seen
//
// Who predicts the mean of all ratings is off by 0.933, the best biases alone by 0.795, the vectors bring it to 0.738 with Adam
// and most others. A batch has few ratings of a person, and SGD, whose learning rate is the same for people and for cuisines, of which
// there are fewer with more ratings each, ends at 0.756. With L1 of 1e-4 there is nothing left of the vectors: 0.794.
package main

import (
	"embed"
	"flag"
	"fmt"

	"github.com/fusestep/fusestep/examples/internal/compare"
)

//go:embed reference/*.json reference/*.csv
var reference embed.FS

func main() {
	compare.Command{Name: "recommend", Flags: func(*flag.FlagSet) {}, Problem: problem}.Main()
}

func problem() (*compare.Problem, error) {
	r, err := load()
	if err != nil {
		return nil, err
	}
	p := &compare.Problem{
		Title: fmt.Sprintf("recommend: %d people's ratings of %d cuisines, by %d factors", r.people, len(r.cuisines), factors),
		New:   func(seed uint64) compare.Model[float32] { return newFactorisation[float32](r, seed) },
		Rows:  len(r.train), Batch: 256, Epochs: 40,
		Loss: "half the squared error, and a penalty", Unit: "points²", Quality: "RMSE, points",
	}
	if p.Rates, p.Expected, err = compare.Load(reference, "cuisines"); err != nil {
		return nil, err
	}
	p.Beside = p.Expected.Baselines
	return p, nil
}
