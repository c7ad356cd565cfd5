// Command quickstart is the shortest whole training program with fusestep: the README's.
package main

import (
	"fmt"
	"log"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/optim"
)

func main() {
	w, b := []float32{4, -2}, []float32{0}
	dev := cpu.New()
	model, err := optim.Place(dev, map[string][]float32{"weight": w, "bias": b}, nil)
	check(err)
	alg := optim.DefaultAdamW()
	alg.LR = 0.02
	opt, err := optim.New(dev, alg, model.Params("weight"))
	check(err)
	alg.WeightDecay = 0 // of a second group
	check(opt.AddGroup(alg, model.Params("bias")))
	check(opt.SetSchedule(optim.Warmup{Steps: 100, Then: optim.Cosine{Steps: 900}}))
	check(opt.SetClipNorm(1))
	for range 1000 {
		gradient(model.Grad("weight"), w)
		gradient(model.Grad("bias"), b)
		check(model.Step(opt))
	}
	fmt.Printf("%.2f %.2f\n", w, b) // [1.00 1.00] [1.00]
}

// gradient is that of (x-1)²/2. Yours comes from your model.
func gradient(g, x []float32) {
	for i := range x {
		g[i] = x[i] - 1
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
