package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/fusestep/fusestep/examples/internal/compare"
	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/kernels/rule"
)

// l2 is the penalty on the weights: half of it times the sum of their squares is part of the loss. Without one softmax
// regression has no minimum, as a plane between two classes of these images can always be made steeper.
const l2 = 1e-3

// network is layers of neurons, each layer all of the one before: softmax regression if there is one layer. It implements
// compare.Model.
type network[F rule.Float] struct {
	layers      []*layer[F]
	delta       [][]F // by layer: the derivative of the loss by out
	train, test []image
}

// layer is out = w·in + b, and the tanh of that unless it is the last: weights[o*len(in)+i] is that of in[i] in out[o]. A tanh and no
// ReLU, as its slope never jumps: rounding then moves a result by little, and a test can say by how much.
type layer[F rule.Float] struct {
	weights, bias   []F
	dWeights, dBias []F // the gradients
	in, out         []F // of the last forward
}

// newNetwork makes a network of layers of these sizes, from the pixels to the classes. Weights begin uniform within
// ±1/√n, n being the inputs of a neuron; biases begin at 0.
func newNetwork[F rule.Float](train, test []image, seed uint64, sizes ...int) *network[F] {
	rng := rand.New(rand.NewPCG(seed, 1))
	n := &network[F]{train: train, test: test}
	in := make([]F, sizes[0])
	for _, size := range sizes[1:] {
		l := &layer[F]{in: in, out: make([]F, size), bias: make([]F, size), dBias: make([]F, size)}
		l.weights, l.dWeights = make([]F, size*len(in)), make([]F, size*len(in))
		for i := range l.weights {
			l.weights[i] = F((2*rng.Float64() - 1) / math.Sqrt(float64(len(in))))
		}
		n.layers, n.delta = append(n.layers, l), append(n.delta, make([]F, size))
		in = l.out
	}
	return n
}

func (n *network[F]) Params() (out []host.Param[F]) {
	for i, l := range n.layers {
		out = append(out,
			host.Param[F]{Name: fmt.Sprintf("%d.weight", i), Value: l.weights, Grad: l.dWeights, Shape: []int{len(l.out), len(l.in)}},
			host.Param[F]{Name: fmt.Sprintf("%d.bias", i), Value: l.bias, Grad: l.dBias})
	}
	return out
}

// forward returns the logits of an image's classes. Products are rounded before they are added, as in a rule, so that
// a processor with fused multiply-add does as others do.
func (n *network[F]) forward(im *image) []F {
	for i, ink := range im.ink {
		n.layers[0].in[i] = F(ink) / 16
	}
	for k, l := range n.layers {
		for o := range l.out {
			z := l.bias[o]
			for i, w := range l.weights[o*len(l.in) : (o+1)*len(l.in)] {
				z += F(w * l.in[i])
			}
			if k < len(n.layers)-1 {
				z = F(math.Tanh(float64(z)))
			}
			l.out[o] = z
		}
	}
	return n.layers[len(n.layers)-1].out
}

// Gradient is backpropagation. The derivative of the loss by the logits is the softmax less 1 for the right class.
func (n *network[F]) Gradient(rows []int) {
	for _, l := range n.layers {
		clear(l.dWeights)
		clear(l.dBias)
	}
	for _, row := range rows {
		im := &n.train[row]
		logits := n.forward(im)
		top := n.delta[len(n.delta)-1]
		norm := compare.LogSumExp(logits)
		for c, z := range logits {
			top[c] = F(math.Exp(float64(z) - norm))
		}
		top[im.digit]--
		for k := len(n.layers) - 1; k >= 0; k-- {
			n.layers[k].backward(n.delta[k])
			if k > 0 {
				n.layers[k].inputs(n.delta[k], n.delta[k-1])
			}
		}
	}
	for _, l := range n.layers {
		for i := range l.dBias {
			l.dBias[i] /= F(len(rows))
		}
		for i, w := range l.weights {
			l.dWeights[i] = l.dWeights[i]/F(len(rows)) + F(l2*w)
		}
	}
}

// backward adds to the gradients what follows from the derivative by out.
func (l *layer[F]) backward(delta []F) {
	for o, d := range delta {
		l.dBias[o] += d
		for i, g := 0, l.dWeights[o*len(l.in):]; i < len(l.in); i++ {
			g[i] += F(d * l.in[i])
		}
	}
}

// inputs puts into in the derivative by what entered the tanhs whose outputs are this layer's inputs: tanh' is 1 - tanh².
func (l *layer[F]) inputs(delta, in []F) {
	clear(in)
	for o, d := range delta {
		for i, w := range l.weights[o*len(in) : (o+1)*len(in)] {
			in[i] += F(d * w)
		}
	}
	for i, y := range l.in {
		in[i] *= 1 - F(y*y)
	}
}

// Loss is the mean cross-entropy, the logarithm of one over the probability that the right class is given, and the penalty.
func (n *network[F]) Loss(rows []int) float64 {
	sum := 0.0
	for _, row := range rows {
		im := &n.train[row]
		logits := n.forward(im)
		sum += compare.LogSumExp(logits) - float64(logits[im.digit])
	}
	penalty := 0.0
	for _, l := range n.layers {
		for _, w := range l.weights {
			penalty += float64(w) * float64(w)
		}
	}
	return sum/float64(len(rows)) + l2/2*penalty
}

// guess is the class with the largest logit.
func (n *network[F]) guess(im *image) int {
	best, logits := 0, n.forward(im)
	for c, z := range logits {
		if z > logits[best] {
			best = c
		}
	}
	return best
}

// Quality is how many held-out images are read right, in percent.
func (n *network[F]) Quality() float64 {
	right := 0
	for i := range n.test {
		if n.guess(&n.test[i]) == n.test[i].digit {
			right++
		}
	}
	return 100 * float64(right) / float64(len(n.test))
}

// Show prints the first held-out image that is read wrong.
func (n *network[F]) Show(w io.Writer) {
	for i := range n.test {
		im := &n.test[i]
		if guess := n.guess(im); guess != im.digit {
			fmt.Fprintf(w, "held-out image %d is a %d, and is taken for a %d:\n", i, im.digit, guess)
			for y := range side {
				var b strings.Builder
				for _, ink := range im.ink[y*side : (y+1)*side] {
					b.WriteString(strings.Repeat(string(" .:+#@"[ink/3]), 2))
				}
				fmt.Fprintln(w, strings.TrimRight("    "+b.String(), " "))
			}
			return
		}
	}
	fmt.Fprintln(w, "every held-out image is read right")
}
