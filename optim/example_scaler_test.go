package optim_test

import (
	"fmt"
	"math"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// A loss scale: the second step's gradient overflows, so that the step is skipped and the scale falls.
func ExampleOptimizer_SetGradScaler() {
	dev := cpu.New()
	defer dev.Close()
	s := dev.DefaultStream()
	w, err := dev.Alloc(device.Float32, 1)
	must(err)
	g, err := dev.Alloc(device.Float16, 1)
	must(err)
	must(device.UploadFloats(s, w, []float64{1}))
	alg := optim.DefaultSGD()
	alg.LR = 0.5
	opt, err := optim.New(dev, alg, []optim.Param{{Name: "w", Value: w, Grad: g}})
	must(err)
	defer opt.Close()
	scaler := optim.DefaultGradScaler()
	scaler.InitScale = 1024
	must(opt.SetGradScaler(s, &scaler))
	for _, gradient := range []float64{0.25 * 1024, math.Inf(1), 0.25 * 512} { // of the loss times the scale
		must(device.UploadFloats(s, g, []float64{gradient}))
		must(opt.Step(s))
		out, err := opt.Outcome(s)
		must(err)
		value := make([]float64, 1)
		must(device.DownloadFloats(s, value, w))
		fmt.Println(out.Applied(), out.LossScale(), value[0])
	}
	// Output:
	// true 1024 0.875
	// false 512 0.875
	// true 512 0.75
}
