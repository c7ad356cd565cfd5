package kernels_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A rule of three element functions has three passes, each with what is around the rule there, what it moves and what it sums.
func TestPasses(t *testing.T) {
	fold := kerneltest.Staged(t)[0]
	around := rule.ClipTensorNorm | rule.L2 | rule.EMA | rule.ZeroGrad
	p := newProgram(t, kernels.Spec{Rule: fold, Around: around, Compute: device.Float32, Formats: "param=bf16+f32 grad=bf16 m=f16"})
	names := func(planes []int) (out []string) {
		for _, k := range planes {
			out = append(out, p.PlaneName(k))
		}
		return out
	}
	always := rule.ClipTensorNorm | rule.L2
	bytes := 0
	for i, want := range []struct {
		around        rule.Around
		loads, stores []string
		fills         []string
		tensor        []string // what its Tensor stores
	}{
		{always, []string{"master", "grad", "m"}, []string{"m"}, []string{"Sum sum", "Scaled squares", "lowest max"}, []string{"out.GradScale"}},
		{always | rule.ZeroGrad, []string{"master", "grad", "m", "v"}, []string{"grad", "m", "v"}, []string{"Mean mean", "Largest max"},
			[]string{"tensor.Sum_", "tensor.GradScale", "tensor.norm", "out.GradScale", "out.norm"}},
		{always | rule.EMA, []string{"master", "m", "v", "ema"}, []string{"param", "master", "ema"}, nil, []string{"tensor.Trust", "out.Trust"}},
	} {
		q := &p.Passes[i]
		require.Equal(t, want.around, q.Around)
		require.Equal(t, want.loads, names(q.Loads))
		require.Equal(t, want.stores, names(q.Stores))
		var fills, tensor []string
		for _, f := range q.Fills {
			require.Equal(t, rule.TensorBank, q.Graph.Vars[f.Var].Bank)
			require.Equal(t, f.Field, q.Graph.Vars[f.Var].Index)
			require.Equal(t, p.TensorWord(f.Field), f.Word)
			fills = append(fills, fold.Tensor[f.Field].Name+" "+f.Kind.String())
		}
		require.Equal(t, want.fills, fills)
		for _, s := range q.Tensor.Stores {
			tensor = append(tensor, q.Tensor.Vars[s.Var].Name)
		}
		require.Equal(t, want.tensor, tensor)
		require.Equal(t, len(p.Planes), slices.IndexFunc(q.Graph.Vars, func(v ir.Field) bool { return v.Bank != rule.ElemBank }), "all planes are fields")
		for _, k := range slices.Concat(q.Loads, q.Stores) {
			bytes += p.Planes[k].DType.Size()
		}
	}
	require.Equal(t, bytes, p.Bytes)
	require.Equal(t, []string{"grad"}, names(p.Zeroed()))
	require.Equal(t, 3+len(fold.Tensor), p.SumWords())
	require.Equal(t, slices.Concat([]float64{0, 0, 5}, make([]float64, len(fold.Tensor))), p.InitialSums(5, 0, 0))
	require.Equal(t, len(fold.Tensor)+1, p.NumTensorScalars())

	var stages []string
	for _, s := range p.Stages {
		stages = append(stages, s.Kind.String())
		if s.Kind == kernels.Reduce {
			require.Equal(t, kernels.OneTensor, s.Over)
			require.Equal(t, s.Fill.Word, s.Sum)
		}
		require.Equal(t, kernels.SkipField, s.Unless)
	}
	require.Equal(t, []string{"scalars", "scalars", "map", "reduce", "reduce", "reduce", "scalars", "map", "reduce", "reduce", "scalars", "map"}, stages)
}

// A program has words of a tensor where it has a use for them.
func TestSumWords(t *testing.T) {
	count := kerneltest.Staged(t)[2]
	for _, tt := range []struct {
		p    *kernels.Program
		want []float64
	}{
		{kernels.Norm(), []float64{}}, {kernels.NormOfTensors(), []float64{0, 0}},
		{newProgram(t, kernels.Spec{Rule: kerneltest.Names(t), Compute: device.Float32}), []float64{}},
		{newProgram(t, kernels.Spec{Rule: kerneltest.Names(t), Around: rule.ClipTensorNorm, Compute: device.Float32}), []float64{0, 0, 7}},
		{newProgram(t, kernels.Spec{Rule: count, Compute: device.Float32}), []float64{0, 0, 7, 0}},
	} {
		require.Len(t, tt.want, tt.p.SumWords())
		require.Equal(t, tt.want, tt.p.InitialSums(7, 0, 0))
	}
}

// The tree of each kind by its definition, written another way: lanes by recursion.
func TestFillTree(t *testing.T) {
	both := map[rule.Fill]func(x, y float64) float64{}
	for _, kind := range []rule.Fill{rule.FillSum, rule.FillSquares, rule.FillMean} {
		both[kind] = func(x, y float64) float64 { return x + y }
	}
	both[rule.FillMax] = func(x, y float64) float64 {
		if x != x || x >= y {
			return x
		}
		return y
	}
	for kind, both := range both {
		empty := map[bool]float64{true: math.Inf(-1)}[kind == rule.FillMax]
		tile := func(x []float64) float64 {
			var of func(lane, step int) float64
			of = func(lane, step int) float64 {
				if step == kernels.NormLanes {
					s := empty
					for i := lane; i < len(x); i += kernels.NormLanes {
						s = both(s, x[i])
					}
					return s
				}
				return both(of(lane, 2*step), of(lane+step, 2*step))
			}
			return of(0, 1)
		}
		same := func(want, got float64) {
			require.True(t, math.Float64bits(want) == math.Float64bits(got) || want != want && got != got, "%s: %v, want %v", kind, got, want)
		}
		same(empty, kernels.FillTree(kind, nil))
		same(empty, kernels.FillTile(kind, []float32{}))
		for _, n := range []int{1, 2, 127, 129, 4096} {
			for _, special := range []float64{1, math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1)} {
				x, wide := make([]float32, n), make([]float64, n)
				for i := range x {
					x[i] = float32(-math.Abs(math.Sin(float64(i))) * math.Exp(float64(i%40)))
				}
				x[n/2] = float32(special)
				for i, x := range x {
					if wide[i] = float64(x); kind == rule.FillSquares {
						wide[i] = wide[i] * wide[i]
					}
				}
				same(tile(wide), kernels.FillTile(kind, x))
			}
		}
		tiles := make([]float64, 3*kernels.NormTile+17)
		for i := range tiles {
			tiles[i] = -math.Exp(math.Sin(float64(i)) * 30)
		}
		var above []float64
		for x := range slices.Chunk(tiles, kernels.NormTile) {
			above = append(above, tile(x))
		}
		same(tile(above), kernels.FillTree(kind, slices.Clone(tiles)))
	}
}
