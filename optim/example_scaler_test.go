package optim_test

import (
	"fmt"
	"log"
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
	if err != nil {
		log.Fatal(err)
	}
	g, err := dev.Alloc(device.Float16, 1)
	if err != nil {
		log.Fatal(err)
	}
	if err := device.UploadFloats(s, w, []float64{1}); err != nil {
		log.Fatal(err)
	}
	alg := optim.DefaultSGD()
	alg.LR = 0.5
	opt, err := optim.New(dev, alg, []optim.Param{{Name: "w", Value: w, Grad: g}})
	if err != nil {
		log.Fatal(err)
	}
	defer opt.Close()
	scaler := optim.DefaultGradScaler()
	scaler.InitScale = 1024
	if err := opt.SetGradScaler(s, &scaler); err != nil {
		log.Fatal(err)
	}
	for _, gradient := range []float64{0.25 * 1024, math.Inf(1), 0.25 * 512} { // of the loss times the scale
		if err := device.UploadFloats(s, g, []float64{gradient}); err != nil {
			log.Fatal(err)
		}
		if err := opt.Step(s); err != nil {
			log.Fatal(err)
		}
		out, err := opt.Outcome(s)
		if err != nil {
			log.Fatal(err)
		}
		value := make([]float64, 1)
		if err := device.DownloadFloats(s, value, w); err != nil {
			log.Fatal(err)
		}
		fmt.Println(out.Applied(), out.LossScale(), value[0])
	}
	// Output:
	// true 1024 0.875
	// false 512 0.875
	// true 512 0.75
}
