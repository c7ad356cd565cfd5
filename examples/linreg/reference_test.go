package main

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/fusestep/fusestep/examples/internal/batches"
)

// TestLeastSquares holds QR against the certified values and against the normal equations.
func TestLeastSquares(t *testing.T) {
	for name, want := range certified {
		s := loadStandard(t, name)
		b, err := leastSquares(s, 0)
		require.NoError(t, err)
		require.InEpsilonSlice(t, want, s.original(b), 1e-11)

		for _, l2 := range []float64{0, 1e-3, 0.1, 10} {
			t.Run(fmt.Sprintf("%s l2=%g", name, l2), func(t *testing.T) {
				b, err := leastSquares(s, l2)
				require.NoError(t, err)
				var chol mat.Cholesky
				require.True(t, chol.Factorize(hessian(s, l2)))
				var x mat.VecDense
				c := correlation(s)
				require.NoError(t, chol.SolveVecTo(&x, mat.NewVecDense(len(c), c)))
				require.Zero(t, b[0])
				require.InEpsilonSlice(t, x.RawVector().Data, b[1:], 1e-10) // 2^-53 × condition number 1.2e4 × 1/0.046
			})
		}
	}
}

// TestLasso checks the conditions that the minimum meets and no other point (Karush, Kuhn, Tucker): the squared error's and l2's
// derivative is -l1·sign(b) where b is not 0, and within ±l1 where it is.
func TestLasso(t *testing.T) {
	tests := []struct {
		name   string
		l1, l2 float64
		zeros  int
	}{
		{"norris", 0.1, 0, 0}, {"norris", 1, 0, 1},
		{"longley", 1e-4, 0, 0}, {"longley", 0.01, 0, 2}, {"longley", 0.1, 0, 5}, {"longley", 0.05, 0.05, 1}, {"longley", 1, 0, 6},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s l1=%g l2=%g", tt.name, tt.l1, tt.l2), func(t *testing.T) {
			s := loadStandard(t, tt.name)
			b := coordinateDescent(s, tt.l1, tt.l2)
			g := make([]float64, len(b))
			newDesign[float64](s).gradient(g, b, batches.New(len(s.y), len(s.y), 0).Take())
			zeros := 0
			for j := 1; j < len(b); j++ {
				d := g[j] + tt.l2*b[j]
				if b[j] == 0 {
					zeros++
					require.LessOrEqual(t, math.Abs(d), tt.l1+1e-14, "slope %d", j)
				} else {
					require.InDelta(t, -math.Copysign(tt.l1, b[j]), d, 1e-14, "slope %d", j)
				}
			}
			require.Equal(t, tt.zeros, zeros, "%v", b)
		})
	}
}

// TestLassoWithoutL1 holds coordinate descent against QR.
func TestLassoWithoutL1(t *testing.T) {
	for name := range certified {
		s := loadStandard(t, name)
		want, err := leastSquares(s, 0.01)
		require.NoError(t, err)
		require.InDeltaSlice(t, want, coordinateDescent(s, 0, 0.01), 1e-13)
	}
}
