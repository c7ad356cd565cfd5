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

// N1: a tensor's norm is that of kernels.Norm of this tensor alone, but where squares lose bits, and there it is not greater.
func TestTensorNorm(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	norm := func(x ...float64) float64 {
		var out kernels.TensorNormOf
		sums := kernels.TensorSums{Sum: kernels.SumSquares(x, 1)}
		if !(sums.Sum <= math.MaxFloat64) {
			sums.Scaled = kernels.SumSquares(x, 0x1p-600)
		}
		kernels.TensorNorm(&sums, &out)
		return out.Norm
	}
	for e := -1074; e <= 1023; e++ {
		for _, x := range [][]float64{{math.Ldexp(1.7, e)}, slices.Repeat([]float64{-math.Ldexp(1.1, e)}, 5), {math.Ldexp(1.3, e), math.Ldexp(1, e-30)}} {
			want := kernels.NormBy(kernels.NormFirst, func(scale float64) float64 { return kernels.SumSquares(x, scale) })
			if got := norm(x...); got != want && !(want < 0x1p-450 && got <= 1.5*want) {
				t.Fatalf("norm of %v is %v, want %v", x, got, want)
			}
		}
	}
	require.Equal(t, inf, norm(inf, 1))
	require.Equal(t, inf, norm(math.Inf(-1), 1e300))
	require.True(t, math.IsNaN(norm(nan, inf, 1e300)))
	require.Equal(t, 0.0, norm())
	for _, sum := range []float64{0, 0x1p-901, 0x1p-900, 1, math.MaxFloat64, inf} { // the second pass is that of kernels.Norm, but for NaN
		var one, other kernels.NormOf
		kernels.NormFirst(&kernels.NormSum{Sum: sum, Scale: 1}, &one)
		kernels.NormFirstOfTensors(&kernels.NormSum{Sum: sum, Scale: 1}, &other)
		require.Equal(t, one, other, "%v", sum)
	}
	var out kernels.NormOf
	kernels.NormFirstOfTensors(&kernels.NormSum{Sum: nan, Scale: 1}, &out)
	require.Equal(t, 0x1p-600, out.Scale)
}

// What stages name is there: the sum, or outputs of the Scalars before. The executors of the norm keep one of these.
func TestNormStages(t *testing.T) {
	for _, p := range []*kernels.Program{kernels.Norm(), kernels.NormOfTensors()} {
		normStages(t, p.Stages)
	}
	pass := []kernels.Scope{kernels.OneTensor, kernels.Everything, kernels.Everything}
	for i, s := range kernels.NormOfTensors().Stages { // with the reads of Norm
		require.Equal(t, pass[i%3], s.Over)
		require.Equal(t, i%3 == 0, s.Terms != nil)
		require.Equal(t, i%3 == 0, len(s.Loads) == 1)
	}
}

func normStages(t *testing.T, stages []kernels.Stage) {
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
		first := i / (len(stages) / 2) * (len(stages) / 2) // of a pass
		require.Equal(t, (i+1)%(len(stages)/2) == 0, s.Kind == kernels.Scalars)
		require.Equal(t, stages[first].Unless, s.Unless)
		require.Equal(t, stages[first].Only, s.Only)
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
