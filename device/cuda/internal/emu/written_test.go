package emu_test

import (
	_ "embed"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed written_test.go
var writtenSource string

// writtenElem is an element of which only the gradient is read.
type writtenElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"m"`
}

type writtenScalars[F rule.Float] struct{ LR F }

type writtenHyper struct{ LR float64 }

type writtenState struct {
	Step float64 `counter:"step"`
}

func written[F rule.Float](e *writtenElem[F], s *writtenScalars[F], _ struct{}) {
	e.M = -e.G
	e.P = F(e.G * s.LR)
}

func writtenPrologue(h *writtenHyper, t *writtenState, s *writtenScalars[float64], _ struct{}) {
	t.Step += 1
	s.LR = h.LR
}

// writtenTensor is what the length of a step is divided by.
type writtenTensor[F rule.Float] struct {
	G    F `fill:"max"`
	Most F
}

// writtenFirst stores what writtenLast reads.
func writtenFirst[F rule.Float](e *writtenElem[F], s *writtenScalars[F], t *writtenTensor[F], _ struct{}) {
	e.M = F(s.LR * e.G)
	t.G = rule.Abs(e.G)
}

func writtenMost(t *writtenTensor[float64], s *writtenScalars[float64], _ struct{}) {
	t.Most = t.G + s.LR
}

func writtenLast[F rule.Float](e *writtenElem[F], s *writtenScalars[F], t *writtenTensor[F], _ struct{}) {
	e.P -= e.M / t.Most
}

// newWritten are a rule with several slots that are written and not read, and one that does so with a slot that it reads later.
func newWritten() ([]*rule.Rule, error) {
	d, err := rule.New(written[float32], written[float64], writtenPrologue, writtenSource)
	if err != nil {
		return nil, err
	}
	later, err := rule.NewStaged(writtenPrologue, writtenSource, rule.Elements(writtenFirst[float32], writtenFirst[float64]), rule.Tensors(writtenMost),
		rule.Elements(writtenLast[float32], writtenLast[float64]))
	return []*rule.Rule{d.Rule, later.Rule}, err
}
