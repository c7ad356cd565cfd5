package gorgonia_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/fusestep/fusestep/optim"
)

// Gorgonia's Adam and ours compute the same numbers with roundings in other places: theirs has 1-β in the element's type,
// (g·g)(1-β2) where ours is ((1-β2)g)g, and bias corrections of the moments themselves, by math.Pow where ours are running
// products.
//
// The bound for an element after some steps, to first order in u, half the distance from 1 to the next number of the type. With
// e = 2⁻⁵³, in which both compute the scalars, and M the moving average of |g|, which |exp_avg| does not exceed, step t adds to
// the difference at most
//
//   - η·M̂/(√v̂+ε), times what the update's factors differ by, relatively:
//     exp_avg, of each solver a rounding for the product with β1, one for the sum, and for the newest term two: (2t+2)u, and for
//     their 1-β1, β1/(1-β1)·u; half of the same for exp_avg_sq, one rounding more of its newest term; 8u for each of the two
//     solvers' operations after that; and for powers that are off by 2t·e each, 2t·e·β^t/(1-β^t), halved below the root;
//   - 2u|p|, where each of them rounds the sum.
func TestAdamIsGorgonias(t *testing.T) {
	const steps, n, lr, beta1, beta2, eps = 200, 64, 0.01, 0.9, 0.999, 1e-8
	for _, dtype := range dtypes {
		t.Run(dtype.String(), func(t *testing.T) {
			u, e := 0x1p-53, 0x1p-53
			if dtype == tensor.Float32 {
				u = 0x1p-24
			}
			rng := rand.New(rand.NewPCG(3, 4))
			init := make([]float64, n)
			for i := range init {
				init[i] = rng.NormFloat64()
			}
			fresh := func(x []float64) *tensor.Dense { return dense(dtype, append([]float64(nil), x...), n) }
			theirs, ours := &param{"w", fresh(init), nil}, &param{"w", fresh(init), nil}
			adam := gorgonia.NewAdamSolver(gorgonia.WithLearnRate(lr), gorgonia.WithBeta1(beta1), gorgonia.WithBeta2(beta2),
				gorgonia.WithEps(eps))
			solver := newSolver(t, false, with(optim.DefaultAdam(), func(c *optim.Adam) { c.LR, c.Betas, c.Eps = lr, [2]float64{beta1, beta2}, eps }))
			bound, avg, avgSq, g := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
			for k := 1; k <= steps; k++ {
				for i := range g {
					g[i] = 0.5 + rng.NormFloat64()
				}
				theirs.grad, ours.grad = fresh(g), fresh(g)
				require.NoError(t, adam.Step([]gorgonia.ValueGrad{theirs}))
				require.NoError(t, solver.Step([]gorgonia.ValueGrad{ours}))

				t := float64(k)
				power1, power2 := math.Pow(beta1, t), math.Pow(beta2, t)
				relative := 2*(2*t+2)*u + beta1/(1-beta1)*u + (2*(2*t+2)*u+u+beta2/(1-beta2)*u)/2 + 2*8*u +
					2*2*t*e*power1/(1-power1) + 2*t*e*power2/(1-power2)
				p := numbers(theirs.value)
				for i := range g {
					avg[i] = beta1*avg[i] + (1-beta1)*math.Abs(g[i])
					avgSq[i] = beta2*avgSq[i] + (1-beta2)*g[i]*g[i]
					bound[i] += lr*avg[i]/(1-power1)/(math.Sqrt(avgSq[i]/(1-power2))+eps)*relative + 2*u*math.Abs(p[i])
				}
			}
			worst := 0.0
			for i, p := range numbers(theirs.value) {
				q := numbers(ours.value)[i]
				require.LessOrEqual(t, math.Abs(p-q), bound[i], "element %d: theirs %v, ours %v", i, p, q)
				worst = max(worst, bound[i]/math.Abs(p-init[i]))
			}
			require.Less(t, worst, 0x1p14*u, "beside the way that an element went, the bound must be small")
		})
	}
}
