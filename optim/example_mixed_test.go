package optim_test

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// A training in 16 bits, as a loss scale needs it: values and gradients of float16, each value with a float32 master, and micro-batches whose
// gradients are added up in float32. The loss is (w-1)²/2 for each element.
func Example_mixedPrecision() {
	const microBatches = 2
	dev := cpu.New()
	defer dev.Close()
	s := dev.DefaultStream()
	value, err := dev.Alloc(device.Float16, 2)
	must(err)
	grad, err := dev.Alloc(device.Float16, 2)
	must(err)
	w, g := []float32{4, -2}, make([]float32, 2)
	must(device.UploadFloats(s, value, w))

	alg := optim.DefaultAdamW()
	alg.LR = 0.02
	opt, err := optim.New(dev, optim.Stored{Algorithm: alg, Master: optim.MasterFloat32}, []optim.Param{{Name: "w", Value: value, Grad: grad}})
	must(err)
	defer opt.Close()
	scaler := optim.DefaultGradScaler()
	must(opt.SetGradScaler(s, &scaler)) // a step divides by the scale, and is skipped where a gradient overflows
	must(opt.SetClipNorm(1))            // of the gradients without the scale
	must(opt.SetZeroGrad(true))
	must(opt.SetAccumulate(true))
	must(opt.SetSchedule(optim.Cosine{Steps: 1000}))
	scale := float32(scaler.InitScale)
	var out optim.Outcome
	for range 1000 {
		for range microBatches {
			for i := range w {
				g[i] = scale / microBatches * (w[i] - 1) // of the loss times the scale
			}
			must(device.UploadFloats(s, grad, g))
			must(opt.Accumulate(s))
		}
		must(opt.Step(s))
		out, err = opt.Outcome(s)
		must(err)
		scale = float32(out.LossScale())
		must(device.DownloadFloats(s, w, value))
	}
	fmt.Printf("%.2f, scale %v, %d steps applied, %d skipped\n", w, scale, out.AppliedSteps(), out.SkippedSteps())
	// Output: [1.00 1.00], scale 32768, 999 steps applied, 1 skipped
}
