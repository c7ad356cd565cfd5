package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/examples/internal/host"
	"github.com/fusestep/fusestep/kernels/rule"
)

const (
	factors = 4
	penalty = 0.1 // on the squares of what predicts a rating
)

// factorisation predicts a rating as mean + bias of the person + bias of the cuisine + person · cuisine, the last a product
// of two vectors: what the cuisine has of each factor, and how much the person likes that. It implements compare.Model.
type factorisation[F rule.Float] struct {
	*ratings
	people, cuisines side[F]
}

// side is the parameters of the people or of the cuisines.
type side[F rule.Float] struct {
	bias, vectors   []F // a number, and factors numbers, for each
	dBias, dVectors []F // the gradients
}

// newFactorisation begins with biases of 0 and vectors uniform within ±0.1: at 0 they would have no gradient.
func newFactorisation[F rule.Float](r *ratings, seed uint64) *factorisation[F] {
	rng := rand.New(rand.NewPCG(seed, 1))
	newSide := func(n int) side[F] {
		s := side[F]{make([]F, n), make([]F, n*factors), make([]F, n), make([]F, n*factors)}
		for i := range s.vectors {
			s.vectors[i] = F((2*rng.Float64() - 1) * 0.1)
		}
		return s
	}
	return &factorisation[F]{r, newSide(r.people), newSide(len(r.cuisines))}
}

func (m *factorisation[F]) Params() []host.Param[F] {
	return []host.Param[F]{
		{Name: "people.bias", Value: m.people.bias, Grad: m.people.dBias},
		{Name: "people.vectors", Value: m.people.vectors, Grad: m.people.dVectors, Shape: []int{m.ratings.people, factors}},
		{Name: "cuisines.bias", Value: m.cuisines.bias, Grad: m.cuisines.dBias},
		{Name: "cuisines.vectors", Value: m.cuisines.vectors, Grad: m.cuisines.dVectors, Shape: []int{len(m.ratings.cuisines), factors}},
	}
}

// of is the vector of one person or cuisine in a list of them.
func of[F rule.Float](vectors []F, i int) []F { return vectors[i*factors : (i+1)*factors] }

// miss is the prediction less the rating. Products are rounded before they are added, as in a rule, so that a processor with
// fused multiply-add does as others do.
func (m *factorisation[F]) miss(x rating) F {
	e := F(m.mean-x.points) + m.people.bias[x.person] + m.cuisines.bias[x.cuisine]
	q := of(m.cuisines.vectors, x.cuisine)
	for k, p := range of(m.people.vectors, x.person) {
		e += F(p * q[k])
	}
	return e
}

func (m *factorisation[F]) Gradient(rows []int) {
	for _, p := range m.Params() {
		clear(p.Grad)
	}
	n := F(len(rows))
	for _, row := range rows {
		x := m.train[row]
		e := m.miss(x)
		m.people.dBias[x.person] += (e + F(penalty*m.people.bias[x.person])) / n
		m.cuisines.dBias[x.cuisine] += (e + F(penalty*m.cuisines.bias[x.cuisine])) / n
		p, q := of(m.people.vectors, x.person), of(m.cuisines.vectors, x.cuisine)
		dp, dq := of(m.people.dVectors, x.person), of(m.cuisines.dVectors, x.cuisine)
		for k := range p {
			dp[k] += (F(e*q[k]) + F(penalty*p[k])) / n
			dq[k] += (F(e*p[k]) + F(penalty*q[k])) / n
		}
	}
}

// Loss is half the squared error and the penalty, averaged over ratings: who rates more counts more in both.
func (m *factorisation[F]) Loss(rows []int) float64 {
	sum := 0.0
	for _, row := range rows {
		x := m.train[row]
		squares := square(m.people.bias[x.person]) + square(m.cuisines.bias[x.cuisine])
		for k, p := range of(m.people.vectors, x.person) {
			squares += square(p) + square(of(m.cuisines.vectors, x.cuisine)[k])
		}
		sum += (square(m.miss(x)) + penalty*squares) / 2
	}
	return sum / float64(len(rows))
}

func square[F rule.Float](x F) float64 { return float64(x) * float64(x) }

// Quality is the root of the mean squared error of the held-out ratings.
func (m *factorisation[F]) Quality() float64 {
	sum := 0.0
	for _, x := range m.test {
		sum += square(m.miss(x))
	}
	return math.Sqrt(sum / float64(len(m.test)))
}

// Show prints which cuisines are liked most and least, and for some what those who like it more than others do like too: the
// cuisines whose vectors point the same way.
func (m *factorisation[F]) Show(w io.Writer) {
	bias := func(c int) float64 { return float64(m.cuisines.bias[c]) }
	fmt.Fprintf(w, "liked most: %s\n", m.top(bias))
	fmt.Fprintf(w, "liked least: %s\n", m.top(func(c int) float64 { return -bias(c) }))
	for _, name := range []string{"Japan", "Ethiopia", "Germany"} {
		c := slices.Index(m.ratings.cuisines, name)
		fmt.Fprintf(w, "as %s: %s\n", name, m.top(func(other int) float64 { return m.alike(c, other) }))
	}
}

// top names the cuisines with the highest scores.
func (m *factorisation[F]) top(score func(c int) float64) string {
	names := slices.Clone(m.ratings.cuisines)
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(score(slices.Index(m.ratings.cuisines, b)), score(slices.Index(m.ratings.cuisines, a)))
	})
	return strings.Join(names[:4], ", ")
}

// alike is the cosine between two cuisines' vectors; a cuisine is not like itself.
func (m *factorisation[F]) alike(a, b int) float64 {
	if a == b {
		return -1
	}
	var dot, aa, bb float64
	for k, x := range of(m.cuisines.vectors, a) {
		y := of(m.cuisines.vectors, b)[k]
		dot, aa, bb = dot+float64(x)*float64(y), aa+square(x), bb+square(y)
	}
	return dot / math.Sqrt(aa*bb)
}
