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

// bigram is a table of logits: row a says, by its softmax, how likely each character is after character a. It implements
// compare.Model.
type bigram[F rule.Float] struct {
	*text
	logits, grad []F
	counts       []int // of a batch's pairs
	heldOut      []int // rows
}

// newBigram makes a table in which, to begin with, each character is as likely as any other.
func newBigram[F rule.Float](t *text) *bigram[F] {
	n := len(t.alphabet) * len(t.alphabet)
	m := &bigram[F]{text: t, logits: make([]F, n), grad: make([]F, n), counts: make([]int, n)}
	for i := t.train; i < len(t.chars); i++ {
		m.heldOut = append(m.heldOut, i-1)
	}
	return m
}

func (m *bigram[F]) Params() []host.Param[F] {
	n := len(m.alphabet)
	return []host.Param[F]{{Name: "logits", Value: m.logits, Grad: m.grad, Shape: []int{n, n}}}
}

// row is the part of a table that belongs to the character a.
func row[T any](m *text, table []T, a int) []T {
	n := len(m.alphabet)
	return table[a*n : (a+1)*n]
}

// Gradient: a pair's loss is log₂ Σ exp(logits) - logit/ln 2, its derivative by the logits (softmax - 1 for the character that
// came)/ln 2. All pairs of a batch with the same first character share the softmax.
func (m *bigram[F]) Gradient(rows []int) {
	m.pairs(rows, m.counts)
	clear(m.grad)
	scale := 1 / (math.Ln2 * float64(len(rows)))
	for a := range m.alphabet {
		logits, counts, grad := row(m.text, m.logits, a), row(m.text, m.counts, a), row(m.text, m.grad, a)
		n := sum(counts)
		if n == 0 {
			continue
		}
		norm := compare.LogSumExp(logits)
		for b, z := range logits {
			p := math.Exp(float64(z) - norm)
			grad[b] = F(scale * (float64(n)*p - float64(counts[b])))
		}
	}
}

// Loss is the bits that a character takes, on average, if the likely ones have the short codes.
func (m *bigram[F]) Loss(rows []int) float64 {
	m.pairs(rows, m.counts)
	nats := 0.0
	for a := range m.alphabet {
		logits, counts := row(m.text, m.logits, a), row(m.text, m.counts, a)
		norm := compare.LogSumExp(logits)
		for b, n := range counts {
			if n > 0 {
				nats += float64(n) * (norm - float64(logits[b]))
			}
		}
	}
	return nats / math.Ln2 / float64(len(rows))
}

// Quality is the bits a character of the held-out text.
func (m *bigram[F]) Quality() float64 { return m.Loss(m.heldOut) }

// Show writes some text as the model has it.
func (m *bigram[F]) Show(w io.Writer) {
	rng := rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	for a := m.chars[0]; b.Len() < 400; {
		logits := row(m.text, m.logits, a)
		norm, left := compare.LogSumExp(logits), rng.Float64()
		for a = range logits {
			if left -= math.Exp(float64(logits[a]) - norm); left < 0 {
				break
			}
		}
		b.WriteRune(m.alphabet[a])
	}
	fmt.Fprintf(w, "what it writes:\n\n%s\n", b.String())
}

func sum(x []int) (s int) {
	for _, n := range x {
		s += n
	}
	return s
}

// count makes the model that counting gives: after a, b is as likely as it was among the rows, each pair counted as if there had
// been added more of it. With none added no other table has a smaller loss on these rows, but what never came is then
// held to be impossible.
func count(t *text, rows []int, added float64) *bigram[float64] {
	m := newBigram[float64](t)
	m.pairs(rows, m.counts)
	for i, n := range m.counts {
		m.logits[i] = math.Log(float64(n) + added)
	}
	return m
}
