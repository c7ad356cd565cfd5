package optim_test

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// On a GPU a replay is one launch of a CUDA graph; here, on a CPU, it is a step.
func ExampleOptimizer_Capture() {
	dev := cpu.New()
	w, err := dev.Alloc(device.Float32, 1)
	check(err)
	g, err := dev.Alloc(device.Float32, 1)
	check(err)
	stream, host := dev.DefaultStream(), []float32{8}
	check(device.Upload(stream, w, host))
	check(device.Upload(stream, g, []float32{1}))
	opt, err := optim.New(dev, optim.DefaultSGD(), []optim.Param{{Name: "w", Value: w, Grad: g}})
	check(err)
	check(opt.SetLR(1))
	check(opt.SetSchedule(optim.StepDecay{Every: 1, Gamma: 0.5}))

	step, err := opt.Capture(stream)
	check(err)
	for range 3 {
		check(step.Replay(stream))
	}
	check(step.Close())
	check(device.Download(stream, host, w))
	check(stream.Synchronize())
	fmt.Println(host) // 8 - 1 - 1/2 - 1/4
	// Output: [6.25]
}
