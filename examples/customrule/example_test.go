package main_test

import (
	_ "embed"
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

//go:embed example_test.go
var source string // of the file that the rule stands in

type Elem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
}
type Scalars[F rule.Float] struct{ LR F }

// Step moves each element by LR against the sign of its gradient.
func Step[F rule.Float](e *Elem[F], s *Scalars[F], _ struct{}) {
	e.P -= F(s.LR * rule.Sign(e.G))
}

// SignDescent is the hyperparameters.
type SignDescent struct{ LR float64 }

func Prologue(h *SignDescent, _ *struct{}, s *Scalars[float64], _ struct{}) { s.LR = h.LR }

var def, errDef = rule.New(Step[float32], Step[float64], Prologue, source)

// Setting makes SignDescent an optim.Algorithm.
func (h SignDescent) Setting() (rule.Setting, error) { return def.With(h, struct{}{}), errDef }

func Example() {
	dev := cpu.New()
	w, g := []float32{1, 2, 3}, []float32{-7, 0, 0.5}
	value, _ := cpu.Wrap(dev, w)
	grad, _ := cpu.Wrap(dev, g)
	opt, err := optim.New(dev, SignDescent{LR: 0.25}, []optim.Param{{Value: value, Grad: grad}})
	if err != nil {
		panic(err)
	}
	_ = opt.Step(nil)
	_ = dev.DefaultStream().Synchronize()
	fmt.Println(w)
	// Output: [1.25 2 2.75]
}
