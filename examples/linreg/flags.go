package main

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/internal/cli"
	"github.com/fusestep/fusestep/internal/gpu"
)

// parseFlags reads the command line. Its errors are a cli.UsageError, and flag.ErrHelp when the help has been printed.
func parseFlags(args []string, stdout io.Writer) (*plan, error) {
	p := &plan{}
	fs := cli.Flags("linreg")
	fs.StringVar(&p.data, "data", "norris", "data set: norris or longley")
	fs.StringVar(&p.method, "method", "gd", "gd, sgd or adam")
	fs.Float64Var(&p.l1, "l1", 0, "L1 penalty of the slopes (lasso)")
	fs.Float64Var(&p.l2, "l2", 0, "L2 penalty of the slopes (ridge)")
	dtype := fs.String("dtype", "f64", "type of the parameters: f32 or f64")
	fs.StringVar(&p.device, "device", "cpu", gpu.Help)
	fs.IntVar(&p.steps, "steps", 0, "steps; 0 is the method's default for the data")
	fs.Float64Var(&p.lr, "lr", 0, "first learning rate; 0 is the default")
	fs.Float64Var(&p.decay, "decay", 0, "last learning rate as a part of the first, at most 1; 0 is the default")
	fs.IntVar(&p.batch, "batch", 0, "rows of a batch of sgd; 0 is the default")
	fs.Uint64Var(&p.seed, "seed", 1, "seed of sgd's shuffling")
	if err := cli.Parse(fs, args, func() { cli.PrintDefaults(fs, stdout) }); err != nil {
		return nil, err
	}
	var err error
	if p.dtype, err = device.ParseDType(*dtype); err != nil || p.dtype != device.Float32 && p.dtype != device.Float64 {
		return nil, cli.Usagef("-dtype %q is not f32 or f64", *dtype)
	}
	return p, p.check()
}

// check says what is wrong with the flags, in their order.
func (p *plan) check() error {
	atLeast0 := func(x float64) bool { return x >= 0 && x <= math.MaxFloat64 }
	for _, c := range []struct {
		ok   bool
		text string
	}{
		{certified[p.data] != nil, fmt.Sprintf("-data %q is not norris or longley", p.data)},
		{slices.Contains([]string{"gd", "sgd", "adam"}, p.method), fmt.Sprintf("-method %q is not gd, sgd or adam", p.method)},
		{atLeast0(p.l1), fmt.Sprintf("-l1 %v is not at least 0 and finite", p.l1)},
		{atLeast0(p.l2), fmt.Sprintf("-l2 %v is not at least 0 and finite", p.l2)},
		{p.steps >= 0, fmt.Sprintf("-steps %d is negative", p.steps)},
		{atLeast0(p.lr), fmt.Sprintf("-lr %v is not at least 0 and finite", p.lr)},
		{p.decay >= 0 && p.decay <= 1, fmt.Sprintf("-decay %v is not between 0 and 1", p.decay)},
		{p.batch >= 0, fmt.Sprintf("-batch %d is negative", p.batch)},
		{p.batch == 0 || p.method == "sgd", fmt.Sprintf("-batch is for -method sgd: %s takes all rows", p.method)},
	} {
		if !c.ok {
			return cli.Usagef("%s", c.text)
		}
	}
	return gpu.CheckFlag(p.device)
}
