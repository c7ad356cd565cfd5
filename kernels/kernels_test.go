package kernels_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// The bytes that a step moves come from the dataflow alone.
func TestBytesPerElement(t *testing.T) {
	sgd := func(o rules.SGDOptions) rule.Setting { return rules.SGDRule().With(rules.SGDHyper{}, o) }
	penalized := sgd(rules.SGDOptions{})
	penalized.L1, penalized.WeightDecay = 1, 1
	average := rules.ScheduleFreeAverageRule().With(rules.ScheduleFreeHyper{}, struct{}{})
	averageL2 := average
	averageL2.WeightDecay = 1
	adam := func(o rules.AdamOptions) rule.Setting { return rules.AdamRule().With(rules.AdamHyper{}, o) }
	tests := []struct {
		name          string
		s             rule.Setting
		f32           int
		loads, stores []string
	}{
		{"sgd", sgd(rules.SGDOptions{}), 12, []string{"param", "grad"}, []string{"param"}},
		{"sgd l1 l2", penalized, 12, []string{"param", "grad"}, []string{"param"}},
		{"momentum", sgd(rules.SGDOptions{Momentum: true}), 20, []string{"param", "grad", "momentum_buffer"}, []string{"param", "momentum_buffer"}},
		{"nesterov without momentum", sgd(rules.SGDOptions{Nesterov: true}), 12, []string{"param", "grad"}, []string{"param"}},
		{"adam", adam(rules.AdamOptions{}), 28, []string{"param", "grad", "exp_avg", "exp_avg_sq"}, []string{"param", "exp_avg", "exp_avg_sq"}},
		{"amsgrad", adam(rules.AdamOptions{AMSGrad: true}), 36, []string{"param", "grad", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
			[]string{"param", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}},
		{"sophia", rules.SophiaRule().With(rules.SophiaHyper{}, rules.SophiaOptions{}), 24, []string{"param", "grad", "exp_avg", "hessian"},
			[]string{"param", "exp_avg"}},
		{"schedule-free average", average, 12, []string{"grad", "z"}, []string{"param"}},
		{"a penalty of a parameter that the rule only writes", averageL2, 16, []string{"param", "grad", "z"}, []string{"param"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, dtype := range []device.DType{device.Float32, device.Float64} {
				p, err := kernels.New(kernels.SpecOf(tt.s, dtype))
				require.NoError(t, err)
				require.Equal(t, tt.f32*dtype.Size()/4, p.Bytes)
				names := func(planes []int) (out []string) {
					for _, k := range planes {
						out = append(out, p.Of(k).Name)
					}
					return out
				}
				require.Equal(t, tt.loads, names(p.Passes[0].Loads))
				require.Equal(t, tt.stores, names(p.Passes[0].Stores))
			}
		})
	}
}

func TestNothingIsComputedInStorageTypes(t *testing.T) {
	for _, dtype := range []device.DType{device.BFloat16, device.Float16, 0} {
		_, err := kernels.New(kernels.Spec{Rule: rules.SGDRule().Rule, Compute: dtype})
		require.ErrorIs(t, err, device.ErrUnsupported)
	}
}

// The bits are the graph's, and the numbers those of clip_grad_norm_ and AdamW. W5: a limit of +Inf clips nothing.
func TestShared(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	tests := []struct{ scale, norm, maxNorm, want float64 }{
		{1, 0, inf, 1}, {-1, 0, inf, -1}, {1, 2, inf, 1}, {1, 3, 1, 1 / (3 + 1e-6)}, {-1, 3, 1, -1 / (3 + 1e-6)},
		{1, 0.5, 1, 1}, {1, inf, 1, 0}, {1, nan, 1, nan}, {1, inf, inf, 1}, {-1, nan, inf, -1}, {1, inf, math.MaxFloat64, 0},
	}
	for _, tt := range tests {
		in := kernels.SharedIn{Scale: tt.scale, Norm: tt.norm, Unscale: 1, MaxNorm: tt.maxNorm, LR: 0.5, DecoupledDecay: 0.25, WeightDecay: 3, L1: 4}
		var out kernels.SharedOut
		kernels.Shared(&in, &out)
		require.True(t, out.GradScale == tt.want || tt.want != tt.want && out.GradScale != out.GradScale, "%+v: got %v", tt, out.GradScale)
		require.Equal(t, [...]float64{0.875, 3, 4}, [...]float64{out.Decay, out.WeightDecay, out.L1})
	}
}

// The tree by its definition, written another way: lanes by recursion.
func TestNormTree(t *testing.T) {
	tile := func(x []float64) float64 {
		var sum func(lane, step int) float64
		sum = func(lane, step int) float64 {
			if step == kernels.NormLanes {
				s := 0.0
				for i := lane; i < len(x); i += kernels.NormLanes {
					s += x[i]
				}
				return s
			}
			return sum(lane, 2*step) + sum(lane+step, 2*step)
		}
		return sum(0, 1)
	}
	for _, n := range []int{0, 1, 2, 127, 128, 129, 4095, 4096, 4097, 3*4096 + 17} {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(math.Sin(float64(i)) * math.Exp(float64(i%40)))
		}
		var sums, again []float64
		for lo := 0; lo < n; lo += kernels.NormTile {
			hi := min(lo+kernels.NormTile, n)
			squares := make([]float64, 0, hi-lo)
			for _, v := range x[lo:hi] {
				squares = append(squares, float64(v)*float64(v))
			}
			sums, again = append(sums, kernels.SumSquares(x[lo:hi], 1)), append(again, tile(squares))
		}
		require.Equal(t, again, sums, "%d elements", n)
		want := 0.0
		if n > 0 {
			want = tile(again)
		}
		require.Equal(t, want, kernels.SumTree(sums), "%d elements", n)
	}
}

func BenchmarkSumSquares(b *testing.B) {
	x := make([]float32, kernels.NormTile)
	b.SetBytes(int64(len(x) * 4))
	for b.Loop() {
		kernels.SumSquares(x, 1)
	}
}
