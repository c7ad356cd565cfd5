package main

import (
	_ "embed"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed broken_test.go
var brokenSource string

type brokenElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
}
type brokenScalars[F rule.Float] struct{ LR F }
type brokenHyper struct{ LR float64 }

// broken adds a product that has not been rounded: a Go compiler for arm64 would fuse the two operations and round once,
// where every other device rounds twice.
func broken[F rule.Float](e *brokenElem[F], s *brokenScalars[F], _ struct{}) {
	step := s.LR * e.G // F(s.LR * e.G) is the cure
	e.P = e.P - step
}

func brokenPrologue(h *brokenHyper, _ *struct{}, s *brokenScalars[float64], _ struct{}) { s.LR = h.LR }

// TestWhatAnErrorLooksLike makes a rule of a function that is none.
func TestWhatAnErrorLooksLike(t *testing.T) {
	_, err := rule.New(broken[float32], broken[float64], brokenPrologue, brokenSource)
	require.ErrorContains(t, err, "rule broken: ")
	require.ErrorContains(t, err, "broken_test.go:28:8: a product is added without a conversion around it: write F(a*b)")

	var e *rule.Error // for a program that wants the place
	require.True(t, errors.As(err, &e))
	line := strings.Split(brokenSource, "\n")[e.Pos.Line-1]
	require.Equal(t, "e.P - step", line[e.Pos.Column-1:])
}
