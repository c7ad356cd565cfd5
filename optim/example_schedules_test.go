package optim_test

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// trainer is an optimizer of one element, whose gradient is always 1.
func trainer(alg optim.Algorithm) (*optim.Optimizer, func() float32) {
	dev := cpu.New()
	w, err := dev.Alloc(device.Float32, 1)
	must(err)
	g, err := dev.Alloc(device.Float32, 1)
	must(err)
	must(device.Upload(dev.DefaultStream(), g, []float32{1}))
	opt, err := optim.New(dev, alg, []optim.Param{{Name: "w", Value: w, Grad: g}})
	must(err)
	return opt, func() float32 {
		host := make([]float32, 1)
		must(device.Download(dev.DefaultStream(), host, w))
		must(dev.DefaultStream().Synchronize())
		return host[0]
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func ExampleWarmup() {
	a := optim.DefaultSGD()
	a.LR = 1
	opt, value := trainer(a)
	// A warm-up of 2 steps, then a cosine that falls to a tenth of the rate in 8 steps.
	must(opt.SetSchedule(optim.Warmup{Steps: 2, Then: optim.Cosine{Steps: 8, Min: 0.1}}))
	for range 3 {
		must(opt.Step(nil))
		fmt.Println(value())
	}
	// Output:
	// 0
	// -0.5
	// -1.5
}

func ExampleReduceOnPlateau() {
	a := optim.DefaultSGD()
	a.LR = 1
	opt, value := trainer(a)
	losses := []float64{3, 2, 2, 2}
	plateau := optim.DefaultReduceOnPlateau()
	plateau.Patience = 1
	must(opt.SetSchedule(&plateau)) // a pointer, because Observe changes it
	for _, loss := range losses {
		must(opt.Step(nil))
		plateau.Observe(loss)
	}
	must(opt.Step(nil)) // at a tenth of the rate
	fmt.Println(plateau.State.Reductions, value())
	// Output: 1 -4.1
}

func ExampleOptimizer_SetHyperparameterSchedule() {
	const steps = 10000
	a := optim.DefaultAdamW()
	a.LR, a.Betas[0] = 0.1, 0.85 // max_lr, base_momentum; max_momentum is 0.95
	opt, _ := trainer(a)
	must(opt.SetSchedule(optim.DefaultOneCycle(steps)))
	must(opt.SetHyperparameterSchedule("betas[0]",
		optim.OneCycle{Steps: steps, PctStart: 0.3, DivFactor: 0.85 / 0.95, FinalDivFactor: 1}))
	must(opt.Step(nil))
	// Output:
}

func ExampleOptimizer_SetSchedule() {
	opt, _ := trainer(optim.DefaultAdamW())
	must(opt.AddGroup(optim.DefaultAdamW(), nil))
	must(opt.SetSchedule(optim.Cosine{Steps: 10000}, 1))                                      // group 1 alone
	must(opt.SetHyperparameterSchedule("weight_decay", optim.Linear{Steps: 10000, Min: 0.1})) // of all groups
	must(opt.Step(nil))
	// Output:
}

func ExampleScheduleFunc() {
	opt, _ := trainer(optim.DefaultAdamW())
	must(opt.SetHyperparameterSchedule("weight_decay", optim.ScheduleFunc(func(k int) float64 {
		if k%1000 == 0 {
			return 1000
		}
		return 0
	})))
	must(opt.Step(nil))
	must(opt.Step(nil))
	// Output:
}
