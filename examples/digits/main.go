// Digits learns to read handwritten digits, by softmax regression or with a hidden layer, with any of the optimizers.
//
//	digits [-model softmax|mlp] [-optimizer name,…|all] [-device cpu|cuda|cuda:N|emu] [-seed n] [-epochs n] [-lr x]
//	       [-precision f32] [-plot file.png] [-tune]
//
// The data are the 1,797 images of 8 by 8 pixels of UCI's test set (data/README.md). The first 1,437 are learned from, the last
// 360 held out. These are harder than others: of every fifth image, held out instead, scikit-learn's regression reads 96 %
// right, of the last 360 it reads 90 %.
//
// The softmax model has a logit for each digit, a weighted sum of the pixels and a bias: 650 parameters. The mlp puts a layer of 32
// neurons, with tanh, between: 2,410. What is minimised is the mean cross-entropy and 1/2000 of the sum of the squared
// weights. This program makes the gradients, in float32 (network.go); the optimizer runs on the device, where the parameters
// live. The result is the same on every device, to the last bit.
//
// With one optimizer the loss and the share of held-out images that are read right are printed after every epoch; with several, a
// line for each. To the right is what torch or optax reaches with the same optimizer, weights and batches; the exit status
// is 1 if a run differs by more than rounding can explain, and 2 for wrong flags. Package compare says how that is known, and how the
// learning rates were chosen.
//
// # What can be seen
//
// Softmax regression is convex. Scikit-learn's LogisticRegression finds its minimum, 0.2357, and -plot shows how far above it
// the optimizers are. With a constant learning rate none arrives: each ends in a noise of its own, which batches of 32 images make,
// most between 0.004 and 0.012 above. The schedule-free ones, evaluated at their average, need no schedule to come within 0.0002 and
// 0.0005. Rprop ends 0.28 above: it takes steps by the signs of the gradients alone, and adapts them where signs change; it is
// made for gradients of all rows, and a batch's signs tell it little.
//
// With -precision the device holds parameters and gradients in bfloat16, and the model calculates with the rounded parameters: see bigram. Adam ends at
// 0.2449 in float32, and with a master or a remainder of either length; in bf16 alone at 0.2602, as small steps are lost; in bf16-stochastic at 0.2454.
package main

import (
	"embed"
	"flag"
	"fmt"

	"github.com/fusestep/fusestep/examples/internal/compare"
	"github.com/fusestep/fusestep/internal/cli"
)

//go:embed reference/*.json reference/*.csv
var reference embed.FS

// hidden is the neurons of the mlp's hidden layer.
const hidden = 32

func main() {
	var model string
	compare.Command{
		Name:    "digits",
		Flags:   func(fs *flag.FlagSet) { fs.StringVar(&model, "model", "softmax", "softmax or mlp") },
		Problem: func() (*compare.Problem, error) { return problem(model) },
	}.Main()
}

func problem(model string) (*compare.Problem, error) {
	train, test, err := load()
	if err != nil {
		return nil, err
	}
	p := &compare.Problem{
		Rows: len(train), Batch: 32, Epochs: 30,
		Loss: "cross-entropy and penalty", Unit: "nats an image", Quality: "images read right, %",
	}
	switch model {
	case "softmax":
		p.Title = "digits: softmax regression, 64 pixels to 10 digits"
		p.New = func(seed uint64) compare.Model[float32] {
			return newNetwork[float32](train, test, seed, pixels, classes)
		}
	case "mlp":
		p.Title = fmt.Sprintf("digits: a hidden layer of %d, 64 pixels to 10 digits", hidden)
		p.New = func(seed uint64) compare.Model[float32] {
			return newNetwork[float32](train, test, seed, pixels, hidden, classes)
		}
	default:
		return nil, cli.Unknown("-model", model, "model", []string{"softmax", "mlp"})
	}
	if p.Rates, p.Expected, err = compare.Load(reference, model); err != nil {
		return nil, err
	}
	p.Beside = p.Expected.Baselines
	if model == "softmax" {
		p.Best = p.Beside[0].Loss // scikit-learn's, which is the minimum
	}
	return p, nil
}
