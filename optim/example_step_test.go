package optim_test

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// Tensors that are on a device already: a step is one more call on a stream.
func ExampleOptimizer_Step() {
	dev := cpu.New()
	w, err := dev.Alloc(device.Float32, 3)
	check(err)
	g, err := dev.Alloc(device.Float32, 3)
	check(err)
	opt, err := optim.New(dev, optim.DefaultAdamW(), []optim.Param{{Name: "w", Value: w, Grad: g}})
	check(err)

	host := []float32{1, -2, 3}
	stream := dev.DefaultStream()
	check(device.Upload(stream, w, host))
	check(device.Upload(stream, g, []float32{0.5, -0.5, 0}))
	check(opt.Step(stream))
	check(device.Download(stream, host, w))
	check(stream.Synchronize()) // all of the above is only enqueued until here
	fmt.Println(host)
	// Output: [0.99899 -1.9989799 2.99997]
}
