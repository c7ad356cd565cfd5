package optim_test

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// The paper's average of the Hessian's estimates, with β2 = 0.75, made in place by an optimizer of its own.
func ExampleSophia() {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dev := cpu.New()
	defer dev.Close()
	stream := dev.DefaultStream()
	buffer := func(x ...float64) *device.Buffer {
		b, err := dev.Alloc(device.Float64, len(x))
		check(err)
		check(device.Upload(stream, b, x))
		check(stream.Synchronize())
		return b
	}
	w, g, estimate := buffer(1, 1, 1), buffer(8, 8, 8), buffer(16, 64, -64)

	sophia := optim.DefaultSophia()
	sophia.LR, sophia.Beta1, sophia.Gamma, sophia.WeightDecay, sophia.BiasCorrection = 0.5, 0.5, 1, 0, false
	opt, err := optim.New(dev, sophia, []optim.Param{{Name: "w", Value: w, Grad: g}})
	check(err)
	hessian, err := opt.State("w", "hessian")
	check(err)
	sgd := optim.DefaultSGD()
	sgd.LR, sgd.WeightDecay, sgd.Maximize = 1-0.75, 1, true
	average, err := optim.New(dev, sgd, []optim.Param{{Value: hessian, Grad: estimate}})
	check(err)

	for range 2 {
		check(average.Step(stream)) // every k steps, on a new estimate
	}
	check(opt.Step(stream))
	h, p := make([]float64, 3), make([]float64, 3)
	check(device.Download(stream, h, hessian))
	check(device.Download(stream, p, w))
	check(stream.Synchronize())
	fmt.Println(h, p)
	// Output: [7 28 -28] [0.7142857142857143 0.9285714285714286 0.5]
}
