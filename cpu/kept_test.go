package cpu

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
)

const keeping = `package p

import "github.com/fusestep/fusestep/kernels/rule"

type Elem[F rule.Float] struct {
	P F ` + "`slot:\"param\"`" + `
	G F ` + "`slot:\"grad\"`" + `
	M F ` + "`slot:\"m\"`" + `
}
type Tensor[F rule.Float] struct {
	Sum F ` + "`fill:\"squares\"`" + `
	Sec F ` + "`fill:\"sum\"`" + `
	New F ` + "`state:\"new\"`" + `
	Old F ` + "`state:\"old\"`" + `
}
type Scalars[F rule.Float] struct{ LR F }
type Hyper struct{ LR float64 }

func Prologue(h *Hyper, _ *struct{}, s *Scalars[float64], _ struct{}) { s.LR = h.LR }

func First[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], _ struct{}) {
	m := e.M + e.G
	t.Sum = FIRST
	e.M = m
}

func Middle(t *Tensor[float64], s *Scalars[float64], _ struct{}) { t.New = t.Sum }

func Second[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], _ struct{}) { t.Sec = e.P }

func Then(t *Tensor[float64], s *Scalars[float64], _ struct{}) { t.Old = t.Sec }

func Last[F rule.Float](e *Elem[F], s *Scalars[F], t *Tensor[F], _ struct{}) { e.P -= F(s.LR * (LAST)) }
`

// Kept is what takes long and is the same in a later pass, of what memory and the tensor have by then.
func TestKept(t *testing.T) {
	tests := []struct {
		name, first, last, formats string
		want                       int
	}{
		{"a quotient", "1 / e.G", "1 / e.G", "", 1},
		{"a root within", "rule.Sqrt(e.G) + 1", "(rule.Sqrt(e.G) + 1) * e.P", "", 1},
		{"a product", "e.G * e.G", "e.G * e.G", "", 0},
		{"another one", "e.G / m", "e.M / e.G", "", 0},
		{"of what the step decays first", "e.G / e.P", "e.G / e.P", "", 0},
		{"of all elements", "e.G * rule.Sqrt(s.LR)", "e.G * rule.Sqrt(s.LR)", "", 0},
		{"of what is stored", "e.G / m", "e.G / e.M", "", 1},
		{"of what was there before", "e.G / e.M", "e.G / e.M", "", 0},
		{"of what was there before, in 16 bits", "e.G / e.M", "e.G / e.M", "m=bf16", 0},
		{"of what is rounded as it is stored", "e.G / m", "e.G / e.M", "m=bf16", 0},
		{"of a tensor's number that changes", "e.G / t.New", "e.G / t.New", "", 0},
		{"two", "F(e.G / m) + F(m / e.G)", "F(e.G / e.M) - F(e.M / e.G)", "", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := rule.Read("r.go", strings.NewReplacer("FIRST", tt.first, "LAST", tt.last).Replace(keeping), "Prologue",
				"First", "Middle", "Second", "Then", "Last")
			require.NoError(t, err)
			for _, compute := range []device.DType{device.Float32, device.Float64} {
				if compute == device.Float64 && tt.formats != "" {
					continue
				}
				p := newProgram(t, kernels.Spec{Rule: r, Compute: compute, Formats: tt.formats})
				passes, kept := keep(p)
				require.Equal(t, tt.want, kept)
				for i, q := range passes {
					if kept == 0 {
						require.Equal(t, p.Passes[i], q.Pass)
					} else if i != 1 {
						require.Len(t, q.places, kept)
					}
				}
				if kept > 0 {
					require.NotContains(t, passes[2].Loads, slices.IndexFunc(p.Slots, func(s kernels.Slot) bool { return s.Name == rule.Grad }))
				}
				d := NewThreads(1)
				defer d.Close()
				kerneltest.Program(t, d, p)
			}
		})
	}
}
