package optim_test

import (
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// A rule that is read from a text, as a file of the user's, steps like one that was compiled.
func ExampleFromRule() {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	text := `package mine

import "github.com/fusestep/fusestep/kernels/rule"

type Elem[F rule.Float] struct {
	P F ` + "`slot:\"param\"`" + `
	G F ` + "`slot:\"grad\"`" + `
	M F ` + "`slot:\"momentum_buffer\"`" + `
}
type Scalars[F rule.Float] struct{ LR, Beta F }
type Options struct{ Nesterov bool }

func Step[F rule.Float](e *Elem[F], s *Scalars[F], o Options) {
	e.M = rule.Flush(F(s.Beta*e.M) + e.G)
	g := e.M
	if o.Nesterov {
		g = e.G + F(s.Beta*e.M)
	}
	e.P -= F(s.LR * g)
}

type Momentum struct{ LR, Beta float64 }

func Prologue(h *Momentum, _ *struct{}, s *Scalars[float64], _ Options) { s.LR, s.Beta = h.LR, h.Beta }
`
	r, err := rule.Read("momentum.go", text, "Prologue", "Step")
	check(err)
	a, err := optim.FromRule(r, map[string]float64{"lr": 0.25, "beta": 0.5, "nesterov": 1})
	check(err)

	dev := cpu.New()
	defer dev.Close()
	value, grad := []float32{1, 2}, []float32{1, -1}
	p := optim.Param{Name: "w"}
	p.Value, err = cpu.Wrap(dev, value)
	check(err)
	p.Grad, err = cpu.Wrap(dev, grad)
	check(err)
	o, err := optim.New(dev, a, []optim.Param{p})
	check(err)
	for range 2 {
		check(o.Step(nil))
		check(dev.DefaultStream().Synchronize())
		fmt.Println(value)
	}
	momentum, err := o.State("w", "momentum_buffer")
	check(err)
	m := make([]float32, 2)
	check(device.Download(dev.DefaultStream(), m, momentum))
	check(dev.DefaultStream().Synchronize())
	fmt.Println(m)

	// Output:
	// [0.625 2.375]
	// [0.1875 2.8125]
	// [1.5 -1.5]
}
