package main_test

import (
	_ "embed"
	"fmt"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

//go:embed rows_test.go
var rowsSource string

// NeuronElem is one element of a parameter. S is of a vector alone.
type NeuronElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	S F `slot:"square"`
}

// NeuronRow is what a row of a matrix has, the weights of one neuron: the mean of its gradient's squares, the average of that, and the step's rate.
type NeuronRow[F rule.Float] struct {
	G    F `fill:"mean"`
	S    F `slot:"row_square"`
	Rate F
}

// NeuronScalars are the numbers that all tensors share.
type NeuronScalars[F rule.Float] struct{ LR, Beta, Rest F }

// NeuronOptions has the option that the tensor sets: whether it is a matrix.
type NeuronOptions struct{ Matrix bool }

// Neuron is RMSprop with one average for each neuron, and of a vector for each element.
type Neuron struct{ LR, Beta float64 }

// NeuronPrologue runs once a step.
func NeuronPrologue(h *Neuron, _ *struct{}, s *NeuronScalars[float64], _ NeuronOptions) {
	s.LR, s.Beta, s.Rest = h.LR, h.Beta, 1-h.Beta
}

// NeuronSquares is what an element adds to its row.
func NeuronSquares[F rule.Float](e *NeuronElem[F], s *NeuronScalars[F], _ *struct{}, r *NeuronRow[F], _ *struct{}, o NeuronOptions) {
	square := F(e.G * e.G)
	if o.Matrix {
		r.G = square
	} else {
		e.S = rule.FlushWith(F(s.Beta*e.S)+F(s.Rest*square), e.G)
	}
}

// NeuronRate runs once for each row, when its elements have filled it.
func NeuronRate[F rule.Float](r *NeuronRow[F], s *NeuronScalars[F], _ *struct{}, _ NeuronOptions) {
	r.S = rule.Flush(F(s.Beta*r.S) + F(s.Rest*r.G))
	r.Rate = s.LR / (rule.Sqrt(r.S) + 1e-8)
}

// NeuronStep is how the element changes.
func NeuronStep[F rule.Float](e *NeuronElem[F], s *NeuronScalars[F], _ *struct{}, r *NeuronRow[F], _ *struct{}, o NeuronOptions) {
	if o.Matrix {
		e.P -= F(r.Rate * e.G)
	} else {
		e.P -= F(s.LR / (rule.Sqrt(e.S) + 1e-8) * e.G)
	}
}

var neuron, errNeuron = rule.NewStaged(NeuronPrologue, rowsSource, rule.MatrixElements(NeuronSquares[float32], NeuronSquares[float64]),
	rule.Rows(NeuronRate[float32], NeuronRate[float64]), rule.MatrixElements(NeuronStep[float32], NeuronStep[float64]))

// Setting implements optim.Algorithm.
func (h Neuron) Setting() (rule.Setting, error) { return neuron.With(h, NeuronOptions{}), errNeuron }

// A rule with numbers of rows: a weight of two neurons with three inputs, and its bias. Param.Shape says what is a matrix.
func Example_rows() {
	dev := cpu.New()
	values := map[string][]float32{"weight": {1, 2, 3, 4, 5, 6}, "bias": {7, 8}}
	model, err := optim.Place(dev, values, nil)
	check(err)
	check(model.SetShape("weight", 2, 3))
	copy(model.Grad("weight"), []float32{2, -2, 2, 0.5, 0.5, -0.5})
	copy(model.Grad("bias"), []float32{0.5, -1})
	opt, err := optim.New(dev, Neuron{LR: 0.25, Beta: 0.75}, model.Params())
	check(err)
	check(model.Step(opt))
	for _, name := range []string{"weight", "bias"} {
		fmt.Printf("%s %.1f\n", name, values[name])
		states, err := opt.States(name)
		check(err)
		for slot, b := range states {
			fmt.Println(" ", slot, b.Len())
		}
	}

	// The same rule of the file's text, as a program without a Go compiler reads it.
	read, err := rule.Read("rows_test.go", rowsSource, "NeuronPrologue", "NeuronSquares", "NeuronRate", "NeuronStep")
	check(err)
	fmt.Println(read.Slots, read.Row[1].Slot, read.Hyper)
	_, err = optim.FromRule(read, map[string]float64{"lr": 0.25, "beta": 0.75})
	check(err)
	// Output:
	// weight [0.5 2.5 2.5 3.5 4.5 6.5]
	//   row_square 2
	// bias [6.5 8.5]
	//   square 2
	// [param grad square] row_square [LR Beta]
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
