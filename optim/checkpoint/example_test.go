package checkpoint_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint"
)

// A training that is run again goes on where it was, with the bits that it would have had: here it ends after 250 steps, and goes on from the checkpoint of
// step 200.
func Example() {
	folder, err := os.MkdirTemp("", "run")
	must(err)
	defer os.RemoveAll(folder)
	fmt.Println(train(folder+"/a", 250))
	fmt.Println(train(folder+"/a", 300))
	fmt.Println(train(folder+"/b", 300))
	// Output:
	// from step 0: [1.96414 0.00025]
	// from step 200: [1.71587 0.24616]
	// from step 0: [1.71587 0.24616]
}

func train(folder string, steps int) string {
	w := []float32{4, -2}
	dev := cpu.New()
	model, err := optim.Place(dev, map[string][]float32{"weight": w}, nil)
	must(err)
	opt, err := optim.New(dev, optim.DefaultAdamW(), model.Params())
	must(err)
	must(opt.SetHyperparameter("lr", 0.01))

	dir := checkpoint.Dir{Path: folder, Keep: 3}
	_, damaged, err := dir.Load(opt, model.Stream(), optim.LoadOptions{})
	for _, d := range damaged {
		log.Print(d) // an older one was loaded
	}
	if !errors.Is(err, fs.ErrNotExist) { // this is not the first time
		must(err)
	}
	from := opt.Steps()
	saver := checkpoint.Saver{Dir: dir}
	for opt.Steps() < steps {
		gradient(model.Grad("weight"), w)
		must(model.Step(opt))
		if opt.Steps()%100 == 0 {
			must(saver.Save(opt, model.Stream()))
		}
	}
	must(saver.Wait())
	return fmt.Sprintf("from step %d: %.5f", from, w)
}

// gradient is that of (x-1)²/2.
func gradient(g, x []float32) {
	for i := range x {
		g[i] = x[i] - 1
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Parameters that another library has saved are filled in before the optimizer is made.
func ExampleWeights() {
	model, err := optim.Place(cpu.New(), map[string][]float32{"embed.weight": make([]float32, 6), "lm_head.weight": make([]float32, 6)}, nil)
	must(err)
	weights, err := checkpoint.OpenWeights("testdata/model") // a file, an index, or a folder with either
	must(err)
	for w := range weights.All() {
		fmt.Println(w.Name, w.DType, w.Shape)
	}
	must(weights.Fill(nil, model.Params())) // all of them, or an error that lists what does not fit
	must(weights.Close())
	// Output:
	// embed.weight BF16 [3 2]
	// lm_head.weight F16 [2 3]
}
