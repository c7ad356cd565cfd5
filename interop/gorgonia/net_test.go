package gorgonia_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// net is a network with its data, ready to be trained on all of it at each step.
type net struct {
	t       *testing.T
	machine gorgonia.VM
	learn   gorgonia.Nodes
	cost    *gorgonia.Node
}

// builder makes a net on the graph: what is learnt, and the cost.
type builder func(b *build) (learn gorgonia.Nodes, cost *gorgonia.Node)

// build is a graph under construction. Its numbers are the same each time.
type build struct {
	g     *gorgonia.ExprGraph
	dtype tensor.Dtype
	rng   *rand.Rand
}

// newNet builds a net whose machine binds dual values, or does not: then gradients are other tensors after each run.
func newNet(t *testing.T, dtype tensor.Dtype, dual bool, design builder) *net {
	b := &build{gorgonia.NewGraph(), dtype, rand.New(rand.NewPCG(1, 2))}
	learn, cost := design(b)
	_, err := gorgonia.Grad(cost, learn...)
	require.NoError(t, err)
	var opts []gorgonia.VMOpt
	if dual {
		opts = append(opts, gorgonia.BindDualValues(learn...))
	}
	n := &net{t, gorgonia.NewTapeMachine(b.g, opts...), learn, cost}
	t.Cleanup(func() { require.NoError(t, n.machine.Close()) })
	return n
}

func (n *net) model() []gorgonia.ValueGrad { return gorgonia.NodesToValueGrads(n.learn) }

// train takes steps and returns the cost before the first and before the last.
func (n *net) train(s gorgonia.Solver, steps int) (first, last float64) {
	for k := range steps {
		require.NoError(n.t, n.machine.RunAll())
		if last = numbers(n.cost.Value())[0]; k == 0 {
			first = last
		}
		require.NoError(n.t, s.Step(n.model()))
		n.machine.Reset()
	}
	return first, last
}

// values are the learnt numbers, node by node.
func (n *net) values() [][]float64 {
	var out [][]float64
	for _, l := range n.learn {
		out = append(out, numbers(l.Value()))
	}
	return out
}

// numbers are the elements of a value, which float64 holds exactly.
func numbers(v gorgonia.Value) (out []float64) {
	switch x := v.Data().(type) {
	case float32:
		return []float64{float64(x)}
	case float64:
		return []float64{x}
	case []float32:
		for _, x := range x {
			out = append(out, float64(x))
		}
	case []float64:
		out = append(out, x...)
	}
	return out
}

// dense is a tensor of the numbers.
func dense(dtype tensor.Dtype, x []float64, shape ...int) *tensor.Dense {
	if dtype == tensor.Float64 {
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x))
	}
	y := make([]float32, len(x))
	for i := range x {
		y[i] = float32(x[i])
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(y))
}

func scalar(dtype tensor.Dtype, x float64) gorgonia.Value {
	if dtype == tensor.Float64 {
		return gorgonia.NewF64(x)
	}
	return gorgonia.NewF32(float32(x))
}

func (b *build) random(n int, scale float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = scale * b.rng.NormFloat64()
	}
	return x
}

func (b *build) tensor(name string, x []float64, shape ...int) *gorgonia.Node {
	return gorgonia.NewTensor(b.g, b.dtype, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...),
		gorgonia.WithValue(dense(b.dtype, x, shape...)))
}

// weight is a tensor of random numbers.
func (b *build) weight(name string, scale float64, shape ...int) *gorgonia.Node {
	return b.tensor(name, b.random(tensor.Shape(shape).TotalSize(), scale), shape...)
}

func meanSquare(x, y *gorgonia.Node) *gorgonia.Node {
	return gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(x, y))))))
}

// line fits y = m·x + c; m and c are scalars.
func line(b *build) (gorgonia.Nodes, *gorgonia.Node) {
	x := b.random(16, 1)
	y := make([]float64, len(x))
	for i := range x {
		y[i] = 3*x[i] - 0.5
	}
	m := gorgonia.NewScalar(b.g, b.dtype, gorgonia.WithName("m"), gorgonia.WithValue(scalar(b.dtype, 0.25)))
	c := gorgonia.NewScalar(b.g, b.dtype, gorgonia.WithName("c"), gorgonia.WithValue(scalar(b.dtype, 0.25)))
	fit := gorgonia.Must(gorgonia.Add(gorgonia.Must(gorgonia.Mul(b.tensor("x", x, len(x)), m)), c))
	return gorgonia.Nodes{m, c}, meanSquare(fit, b.tensor("y", y, len(y)))
}

// xor learns the exclusive or of two inputs with one hidden layer.
func xor(b *build) (gorgonia.Nodes, *gorgonia.Node) {
	x := b.tensor("x", []float64{0, 0, 0, 1, 1, 0, 1, 1}, 4, 2)
	y := b.tensor("y", []float64{0, 1, 1, 0}, 4, 1)
	learn := gorgonia.Nodes{b.weight("w0", 1, 2, 8), b.weight("b0", 0.1, 1, 8), b.weight("w1", 1, 8, 1), b.weight("b1", 0.1, 1, 1)}
	layer := func(x, w, bias *gorgonia.Node) *gorgonia.Node {
		return gorgonia.Must(gorgonia.BroadcastAdd(gorgonia.Must(gorgonia.Mul(x, w)), bias, nil, []byte{0}))
	}
	h := gorgonia.Must(gorgonia.Tanh(layer(x, learn[0], learn[1])))
	out := gorgonia.Must(gorgonia.Sigmoid(layer(h, learn[2], learn[3])))
	return learn, meanSquare(out, y)
}

// convolution tells vertical stripes from horizontal ones, by a filter, pooling and a matrix that it uses transposed.
func convolution(b *build) (gorgonia.Nodes, *gorgonia.Node) {
	const n, size, filters = 8, 6, 3
	pixels, want := b.random(n*size*size, 0.1), make([]float64, n)
	for i := range pixels {
		image := i / (size * size)
		if row, column := i/size%size, i%size; image%2 == 0 && row%2 == 0 || image%2 == 1 && column%2 == 0 {
			pixels[i]++
		}
		want[image] = float64(image % 2)
	}
	learn := gorgonia.Nodes{b.weight("filter", 0.5, filters, 1, 3, 3), b.weight("w", 0.5, 1, filters*2*2)}
	x, one := b.tensor("x", pixels, n, 1, size, size), []int{1, 1}
	h := gorgonia.Must(gorgonia.Conv2d(x, learn[0], tensor.Shape{3, 3}, []int{0, 0}, one, one))
	h = gorgonia.Must(gorgonia.MaxPool2D(gorgonia.Must(gorgonia.Rectify(h)), tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}))
	h = gorgonia.Must(gorgonia.Reshape(h, tensor.Shape{n, filters * 2 * 2}))
	out := gorgonia.Must(gorgonia.Mul(h, gorgonia.Must(gorgonia.Transpose(learn[1]))))
	return learn, meanSquare(gorgonia.Must(gorgonia.Sigmoid(out)), b.tensor("y", want, n, 1))
}
