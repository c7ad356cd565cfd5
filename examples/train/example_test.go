package train_test

import (
	"fmt"
	"log"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/optim"
)

// A line is fitted to four points, which it goes through: y = 2x + 1.
func Example() {
	weight, bias := []float32{0}, []float32{0}
	dev := cpu.New()
	model, err := optim.Place(dev, map[string][]float32{"weight": weight, "bias": bias}, nil)
	check(err)

	alg := optim.DefaultAdamW()
	alg.LR, alg.WeightDecay = 0.1, 1e-3
	opt, err := optim.New(dev, alg, model.Params("weight")) // group 0 decays
	check(err)
	alg.WeightDecay = 0
	check(opt.AddGroup(alg, model.Params("bias"))) // group 1 does not

	const steps = 200
	check(opt.SetSchedule(optim.Warmup{Steps: 20, Then: optim.Cosine{Steps: steps - 20}}))
	check(opt.SetClipNorm(1))
	check(opt.SetGrad("bias", nil)) // the bias waits: it neither moves nor counts steps

	for step := range steps {
		if step == 50 {
			check(opt.SetGrad("bias", model.Params("bias")[0].Grad))
		}
		loss, w, b := float32(0), model.Grad("weight"), model.Grad("bias")
		w[0], b[0] = 0, 0
		for _, x := range []float32{0, 1, 2, 3} {
			miss := weight[0]*x + bias[0] - (2*x + 1)
			loss, w[0], b[0] = loss+miss*miss/4, w[0]+miss*x/2, b[0]+miss/2
		}
		check(model.Step(opt)) // values are new when it returns
		if step%50 == 49 {
			lr, err := opt.LastLR(0)
			check(err)
			fmt.Printf("step %3d: loss %.4f at rate %.4f: y = %.2f x + %.2f\n", opt.Steps(), loss, lr, weight[0], bias[0])
		}
	}
	// Output:
	// step  50: loss 0.3700 at rate 0.0937: y = 2.44 x + 0.00
	// step 100: loss 0.0004 at rate 0.0595: y = 2.02 x + 0.97
	// step 150: loss 0.0000 at rate 0.0185: y = 2.00 x + 1.00
	// step 200: loss 0.0000 at rate 0.0000: y = 2.00 x + 1.00
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
