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

// newWritten is a rule with several slots that are written and not read.
func newWritten() (*rule.Rule, error) {
	d, err := rule.New(written[float32], written[float64], writtenPrologue, writtenSource)
	if err != nil {
		return nil, err
	}
	return d.Rule, nil
}
