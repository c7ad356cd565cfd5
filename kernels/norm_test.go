package kernels_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

func first(sum float64) (out kernels.NormOf) {
	kernels.NormFirst(&kernels.NormSum{Sum: sum, Scale: 1}, &out)
	return out
}

// N1: no scale is needed for float32, whatever its elements and however many: so executors may leave it out.
func TestNormOfFloat32(t *testing.T) {
	greatest := kernels.SumSquares([]float32{math.MaxFloat32}, 1) * 0x1p63
	least := kernels.SumSquares([]float32{math.SmallestNonzeroFloat32}, 1)
	require.Equal(t, 0x1p-298, least, "exact")
	for _, total := range []float64{greatest, least} {
		require.Equal(t, 1.0, first(total).Scale, "%v", total)
	}
	// What has a scale all the same comes out as without.
	for _, x := range []float32{0, float32(math.Inf(1))} {
		out := first(kernels.SumSquares([]float32{x}, 1))
		require.NotEqual(t, 1.0, out.Scale)
		require.Equal(t, float64(x), out.Norm)
		kernels.NormScaled(&kernels.NormSum{Sum: kernels.SumSquares([]float32{x}, out.Scale), Scale: out.Scale}, &out)
		require.Equal(t, float64(x), out.Norm)
	}
}

// N1: the norm of n elements x is |x|·√n to the last bit or two, over all of float64.
func TestNormOverTheRange(t *testing.T) {
	for e := -1074; e <= 1023; e++ {
		for _, n := range []int{1, 4, 16} {
			x := slices.Repeat([]float64{-math.Ldexp(1, e)}, n)
			got := kernels.NormBy(kernels.NormFirst, func(scale float64) float64 { return kernels.SumSquares(x, scale) })
			want := min(math.Ldexp(math.Sqrt(float64(n)), e), math.MaxFloat64)
			if got != want {
				t.Fatalf("%d times 2^%d: norm is %v, want %v", n, e, got, want)
			}
		}
	}
	for _, x := range [][]float64{{1.5e160, 2e160}, {3e-200, 4e-200}, {3e-165, 4e-165}, {3e150, 4e150, 1e-300}} {
		got := kernels.NormBy(kernels.NormFirst, func(scale float64) float64 { return kernels.SumSquares(x, scale) })
		require.InEpsilon(t, math.Hypot(x[0], x[1]), got, 4e-16, "%v", x)
	}
}

// What stages name is there: the sum, or outputs of the Scalars before. The executors of the norm keep one of these.
func TestNormStages(t *testing.T) {
	stages := kernels.Norm().Stages
	outputs := map[string]bool{}
	kept := map[string]bool{}
	names := func(f *ir.Func, bank int) {
		for _, v := range f.Loads() {
			if field := f.Vars[v]; field.Bank == bank && field.Name != kernels.SumField {
				kept["out."+field.Name[strings.Index(field.Name, ".")+1:]] = true
			}
		}
	}
	for i, s := range stages {
		require.Equal(t, []kernels.Kind{kernels.Reduce, kernels.Scalars}[i%2], s.Kind)
		require.Equal(t, stages[i&^1].Unless, s.Unless)
		require.Equal(t, stages[i&^1].Only, s.Only)
		if s.Unless != "" {
			kept[s.Unless] = true
		}
		for _, f := range s.Terms {
			names(f, rule.ScalarsBank)
		}
		if s.Kind == kernels.Scalars {
			names(s.Graph, 0)
		}
		for name := range kept {
			require.True(t, outputs[name], "stage %d reads %s, which no stage before has made", i, name)
		}
		if s.Kind == kernels.Scalars {
			for _, store := range s.Graph.Stores {
				outputs[s.Graph.Vars[store.Var].Name] = true
			}
		}
	}
	require.Equal(t, map[string]bool{"out.Scale": true}, kept)
}
