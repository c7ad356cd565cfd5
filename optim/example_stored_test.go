package optim_test

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// Values of float32 with gradients and first moments of bfloat16: 22 bytes a parameter for each step, where float32 alone moves 28.
func ExampleStored() {
	dev := cpu.New()
	defer dev.Close()
	value, err := dev.Alloc(device.Float32, 1)
	must(err)
	grad, err := dev.Alloc(device.BFloat16, 1)
	must(err)
	alg := optim.Stored{Algorithm: optim.DefaultAdamW(), State: map[string]device.DType{"exp_avg": device.BFloat16}}
	opt, err := optim.New(dev, alg, []optim.Param{{Name: "w", Value: value, Grad: grad}})
	must(err)
	defer opt.Close()

	s := dev.DefaultStream()
	must(device.UploadFloats(s, value, []float32{1}))
	must(device.UploadFloats(s, grad, []float32{0.3})) // rounded to bfloat16
	must(opt.Step(s))
	x := make([]float32, 1)
	must(device.DownloadFloats(s, x, value)) // waits for the step
	states, err := opt.States("w")
	must(err)
	fmt.Println(x)
	for name, state := range states {
		fmt.Println(name, state.DType())
	}
	// Output:
	// [0.99899]
	// exp_avg bfloat16
	// exp_avg_sq float32
}
