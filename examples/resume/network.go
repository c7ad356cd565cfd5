package main

import (
	"fmt"
	"math/rand/v2"
)

// A row is some numbers and a kind. What is to be learned of it is the sum of the products of neighbouring numbers, each with a sign that depends on
// the kind.
type row struct {
	x    [numbers]float32 // between -1 and 1
	kind int
	y    float32
}

const (
	numbers = 8
	kinds   = 16
	inputs  = 2 * numbers // the numbers, and as many that are learned of the kind
)

// rows makes a batch. It depends on the step and the micro-batch alone, so that there is no position in the data to save.
func rows(step, micro, n int) []row {
	rng := rand.New(rand.NewPCG(uint64(step), uint64(micro)))
	out := make([]row, n)
	for i := range out {
		r := &out[i]
		r.kind = rng.IntN(kinds)
		for j := range r.x {
			r.x[j] = 2*rng.Float32() - 1
			if j > 0 {
				product := r.x[j-1] * r.x[j]
				if r.kind>>(j%4)&1 == 1 {
					product = -product
				}
				r.y += product
			}
		}
	}
	return out
}

// tensor is values and their gradient, in host memory.
type tensor struct {
	name        string
	value, grad []float32
}

// network has a table of numbers for each kind, and behind it layers of neurons.
type network struct {
	kinds  tensor
	layers []*layer
}

// layer is out = w·in + b, without what is below 0 unless it is the last: weights.value[o*len(in)+i] is that of in[i] in out[o].
type layer struct {
	weights, bias tensor
	in, out       []float32
	dIn, dOut     []float32 // the derivatives of the loss
}

// newNetwork has two layers of so many neurons before the last. What it starts with is the same each time.
func newNetwork(width int) *network {
	rng := rand.New(rand.NewPCG(1, 1))
	start := func(name string, n, from int) tensor { // from inputs
		t := tensor{name, make([]float32, n), make([]float32, n)}
		for i := range t.value {
			t.value[i] = (2*rng.Float32() - 1) * 2 / float32(from)
		}
		return t
	}
	n := &network{kinds: start("kinds", kinds*numbers, 2)}
	in, dIn := make([]float32, inputs), make([]float32, inputs)
	for i, size := range []int{width, width, 1} {
		l := &layer{in: in, out: make([]float32, size), dIn: dIn, dOut: make([]float32, size)}
		l.weights = start(fmt.Sprintf("%d.weight", i), size*len(in), 8)
		l.bias = tensor{fmt.Sprintf("%d.bias", i), make([]float32, size), make([]float32, size)}
		n.layers = append(n.layers, l)
		in, dIn = l.out, l.dOut
	}
	return n
}

// forward predicts a row's y. Products are rounded before they are added, as in a rule, so that a processor with fused multiply-add does as others do.
func (n *network) forward(r *row) float32 {
	copy(n.layers[0].in, r.x[:])
	copy(n.layers[0].in[numbers:], n.kinds.value[r.kind*numbers:][:numbers])
	last := len(n.layers) - 1
	for k, l := range n.layers {
		for o := range l.out {
			z := l.bias.value[o]
			for i, w := range l.weights.value[o*len(l.in):][:len(l.in)] {
				z += float32(w * l.in[i])
			}
			if k < last {
				z = max(z, 0)
			}
			l.out[o] = z
		}
	}
	return n.layers[last].out[0]
}

// gradient makes the gradients of scale times the sum of half the squared errors, and returns that sum without the scale.
func (n *network) gradient(batch []row, scale float32) (loss float64) {
	clear(n.kinds.grad)
	for _, l := range n.layers {
		clear(l.weights.grad)
		clear(l.bias.grad)
	}
	last := len(n.layers) - 1
	for i := range batch {
		r := &batch[i]
		miss := n.forward(r) - r.y
		loss += float64(miss) * float64(miss) / 2
		n.layers[last].dOut[0] = miss * scale
		for k := last; k >= 0; k-- {
			n.layers[k].backward(k < last)
		}
		for j, d := range n.layers[0].dIn[numbers:] {
			n.kinds.grad[r.kind*numbers+j] += d
		}
	}
	return loss
}

// backward adds to the gradients what follows from dOut, and makes dIn.
func (l *layer) backward(cut bool) {
	clear(l.dIn)
	for o, d := range l.dOut {
		if cut && l.out[o] == 0 || d == 0 {
			continue
		}
		l.bias.grad[o] += d
		w, g := l.weights.value[o*len(l.in):][:len(l.in)], l.weights.grad[o*len(l.in):][:len(l.in)]
		for i, x := range l.in {
			g[i] += float32(d * x)
			l.dIn[i] += float32(d * w[i])
		}
	}
}

// loss is the mean of half the squared errors over rows.
func (n *network) loss(all []row) float64 {
	sum := 0.0
	for i := range all {
		miss := float64(n.forward(&all[i]) - all[i].y)
		sum += float64(miss * miss)
	}
	return sum / float64(2*len(all))
}
