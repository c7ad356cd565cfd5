// Bigram learns which character comes after which, with any of the optimizers.
//
//	bigram [-text file] [-optimizer name,…|all] [-device cpu|cuda|cuda:N|emu] [-seed n] [-epochs n] [-lr x]
//	       [-precision f32] [-plot file.png] [-tune]
//
// The text is the first book of Newton's Opticks, 248,985 characters (data/README.md), or that of -text, in UTF-8, with at most 4,096
// different characters. The first nine tenths are learned from, the last held out.
//
// The model is a table of 86 by 86 logits, a row for each character, whose softmax says how likely the next ones are. It is the
// smallest language model there is, and was chosen because the best table is known: counting gives it. What is minimised is the
// mean cross-entropy in bits: how long the text would be, per character, coded by the model. This program makes the
// gradients, in float32 (model.go); the optimizer runs on the device, where the 7,396 parameters live. The result is the same on every
// device, to the last bit.
//
// With one optimizer the loss and the bits a character of the held-out text are printed after every epoch, and in the end some
// text that the model writes; with several, a line for each. To the right is what torch or optax reaches with the same optimizer
// and batches; the exit status is 1 if a run differs by more than rounding can explain, and 2 for wrong flags. Package compare
// says how that is known, and how the learning rates were chosen.
//
// # What can be seen
//
// Counting has the least loss, 3.3804 bits, and -plot shows how far above it the optimizers are. This is the problem that adaptive
// learning rates are for: the gradient of a character's row is as small as the character is rare. SGD at its best learning rate,
// with or without momentum, ends 0.03 above, Adam 0.004, RMSprop 0.002, schedule-free AdamW 0.0003. A penalty moves the minimum
// itself: with L1 or L2 of 1e-4 the optimizers end 0.1 to 0.16 above. Rprop, which takes steps by the signs of gradients
// alone, is made for gradients of all rows, and misled by batches.
//
// # Sixteen bits
//
// With -precision the device holds parameters and gradients in bfloat16, and the model calculates with the rounded parameters: bf16+master keeps
// a float32 beside them, bf16+remainder the 16 bits that a float32 has more, bf16+remainder8 8 of them; bf16 and bf16-stochastic hold the optimizer's state in
// bfloat16 too, rounded to nearest, or stochastically. Adam ends at 3.3840 bits in float32, and with each of the three. In bf16 alone it stalls, as most
// steps are less than half of the distance from a bfloat16 to the next: it ends at 3.5624. Stochastic rounding, of as many bytes, ends at 3.3845.
package main

import (
	"embed"
	"flag"
	"fmt"

	"github.com/fusestep/fusestep/examples/internal/batches"
	"github.com/fusestep/fusestep/examples/internal/compare"
)

//go:embed reference/*.json reference/*.csv
var reference embed.FS

func main() {
	var file string
	compare.Command{
		Name: "bigram",
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&file, "text", "", "`file` to learn from, UTF-8; without one, Newton's Opticks")
		},
		Problem: func() (*compare.Problem, error) { return problem(file) },
	}.Main()
}

func problem(file string) (*compare.Problem, error) {
	t, err := load(file)
	if err != nil {
		return nil, err
	}
	p := &compare.Problem{
		Title: fmt.Sprintf("bigram: which of %d characters comes next", len(t.alphabet)),
		New:   func(uint64) compare.Model[float32] { return newBigram[float32](t) },
		Rows:  t.rows(), Batch: 512, Epochs: 10,
		Loss: "cross-entropy", Unit: "bits a character", Quality: "bits a character",
	}
	all := batches.New(p.Rows, p.Rows, 0).Take()
	p.Best = count(t, all, 0).Loss(all)
	smooth := count(t, all, 1)
	p.Beside = []compare.Baseline{{Name: "counting, 1 added to each", Loss: smooth.Loss(all), Quality: smooth.Quality()}}
	var expected *compare.Reference
	if p.Rates, expected, err = compare.Load(reference, "opticks"); err != nil {
		return nil, err
	}
	if file == "" {
		p.Expected = expected
	} else {
		p.Inputs = []string{file}
	}
	return p, nil
}
