package gorgonia_test

import (
	"fmt"
	"log"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/optim"

	fusestep "github.com/fusestep/fusestep/interop/gorgonia"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A line through four points, by Adam with a learning rate that falls.
func Example() {
	g := gorgonia.NewGraph()
	vector := func(name string, x ...float64) *gorgonia.Node {
		return gorgonia.NewVector(g, tensor.Float64, gorgonia.WithName(name), gorgonia.WithValue(tensor.New(tensor.WithBacking(x))))
	}
	x, y := vector("x", 0, 1, 2, 3), vector("y", -1, 1, 3, 5)
	slope := gorgonia.NewScalar(g, tensor.Float64, gorgonia.WithName("slope"), gorgonia.WithValue(0.0))
	intercept := gorgonia.NewScalar(g, tensor.Float64, gorgonia.WithName("intercept"), gorgonia.WithValue(0.0))
	fit := gorgonia.Must(gorgonia.Add(gorgonia.Must(gorgonia.Mul(x, slope)), intercept))
	cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(fit, y))))))
	learnables := gorgonia.Nodes{slope, intercept}
	_, err := gorgonia.Grad(cost, learnables...)
	check(err)
	machine := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(learnables...))
	defer machine.Close()

	const epochs = 500
	adam := optim.DefaultAdam()
	adam.LR = 0.1
	dev := cpu.New()
	defer dev.Close()
	solver, err := fusestep.NewSolver(dev, adam, func(o *optim.Optimizer) error {
		o.SetSchedule(optim.Cosine{Steps: epochs})
		return nil
	})
	check(err)
	defer solver.Close()
	for range epochs {
		check(machine.RunAll())
		check(solver.Step(gorgonia.NodesToValueGrads(learnables)))
		machine.Reset()
	}
	fmt.Printf("y = %.3f·x %+.3f after %d steps\n", slope.Value().Data(), intercept.Value().Data(), solver.Optimizer().Steps())
	// Output: y = 2.000·x -1.000 after 500 steps
}
