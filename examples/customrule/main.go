// Customrule trains with an optimizer that is in no library: Concord, a rule of this program's own (concord.go), which enters
// fusestep by the door that the built-in rules use.
//
// It checks the rule against the Go function, bit for bit, and against the formula, in float32 and float64, then fits a
// cubic to a sine with it. It checks a second one, which has norms of tensors (layer.go), in the same way. The exit status is 1 if a check fails or the output cannot be written, and 2 for wrong flags.
//
//	customrule [-device cpu|cuda|cuda:N|emu]
//
// The rule becomes machine code or, on a GPU, PTX while the program runs. For a GPU it must be built with device/cuda/gocuda; emu is
// an emulated one.
package main

import (
	"fmt"
	"io"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
)

func main() { cli.Main("customrule", command) }

func command(args []string, stdout io.Writer) error {
	fs := cli.Flags("customrule")
	name := fs.String("device", "cpu", gpu.Help)
	if err := cli.Parse(fs, args, func() { cli.PrintDefaults(fs, stdout) }); err != nil {
		return err
	}
	dev, err := host.Open(*name)
	if err != nil {
		return err
	}
	return run(stdout, dev)
}

func run(w io.Writer, dev kernels.Backend) error {
	def, err := concordRule()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "rule %s: slots %q, options %q, hyperparameters %q\n", def.Name, def.Slots, def.Options, def.Hyper)
	c := Settings{LR: 0.05, Beta: 0.9, Limit: 0.5, Doubt: 0.25, WeightDecay: 0.01}
	for _, t := range []device.DType{device.Float32, device.Float64} {
		if err := show(w, dev, c, t); err != nil {
			return err
		}
	}
	c.WeightDecay, c.LR = 0, 0.1
	const steps, enough = 1000, 1e-3
	before, after, err := fitCubic(dev, c, steps)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\na cubic for sin 2x: mean square error %.4f before, %.6f after %d steps\n", before, after, steps)
	if !(after < enough) {
		return fmt.Errorf("the cubic's mean square error is %g, not below %g", after, enough)
	}
	for _, t := range []device.DType{device.Float32, device.Float64} {
		if err := showLayer(w, dev, Layer{LR: 0.02}, t); err != nil {
			return err
		}
	}
	return dev.Device().Close()
}

// show checks the rule in one type.
func show(w io.Writer, backend kernels.Backend, c Settings, t device.DType) error {
	const n = 1003
	text, err := describe(c, t)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", text)
	var got checked
	if t == device.Float32 {
		got, err = check[float32](backend, c, n)
	} else {
		got, err = check[float64](backend, c, n)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "  against the Go function, %d elements, %d steps: %d differ in any bit\n", n, checkSteps, got.different)
	fmt.Fprintf(w, "  against the formula in float64: largest error %.1e, bound %.1e\n", got.worst, got.bound)
	if got.different > 0 || !(got.worst <= got.bound) {
		return fmt.Errorf("%s: the rule on the device is not the rule", t)
	}
	return nil
}

// showLayer checks the rule with norms in one type, on a tensor of a few tiles.
func showLayer(w io.Writer, backend kernels.Backend, h Layer, t device.DType) error {
	const n = 3*kernels.NormTile + 5
	text, err := describe(h, t)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", text)
	var got checkedLayer
	if t == device.Float32 {
		got, err = checkLayer[float32](backend, h, n)
	} else {
		got, err = checkLayer[float64](backend, h, n)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "  against the Go functions, %d elements, %d steps: %d differ in any bit\n", n, checkSteps, got.different)
	fmt.Fprintf(w, "  a step is LR times the tensor's norm: largest error %.1e, bound %.1e\n", got.worst, got.bound)
	if got.different > 0 || !(got.worst <= got.bound) {
		return fmt.Errorf("%s: the rule with norms on the device is not the rule", t)
	}
	return nil
}
