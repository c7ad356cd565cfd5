package optim_test

import (
	"fmt"
	"log"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/optim"
)

// The loop of the package's documentation, on a weight and a bias that are pulled towards 1.
func Example() {
	w, b := []float32{4, -2}, []float32{0}
	gradient := func(dw, db []float32) {
		for i := range w {
			dw[i] = w[i] - 1
		}
		db[0] = b[0] - 1
	}

	dev := cpu.New()
	model, err := optim.Place(dev, map[string][]float32{"weight": w, "bias": b}, nil)
	check(err)
	adamw := optim.DefaultAdamW()
	adamw.LR = 0.02
	opt, err := optim.New(dev, adamw, model.Params("weight"))
	check(err)
	noDecay := adamw
	noDecay.WeightDecay = 0
	check(opt.AddGroup(noDecay, model.Params("bias")))
	check(opt.SetSchedule(optim.Warmup{Steps: 100, Then: optim.Cosine{Steps: 900}}))
	check(opt.SetClipNorm(1))
	for range 1000 {
		gradient(model.Grad("weight"), model.Grad("bias"))
		check(model.Step(opt))
	}
	fmt.Printf("%.2f %.2f\n", w, b)
	// Output: [1.00 1.00] [1.00]
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
