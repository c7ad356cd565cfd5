package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

func loadStandard(t testing.TB, name string) *standard {
	d, err := load(name)
	require.NoError(t, err)
	return standardise(d)
}

func TestData(t *testing.T) {
	tests := []struct {
		name               string
		rows               int
		columns            []string
		firstY, lastY      float64
		firstX, lastColumn float64 // of the first row
	}{
		{"norris", 36, []string{"x"}, 0.1, 0.2, 0.2, 0.2},
		{"longley", 16, []string{"gnp_deflator", "gnp", "unemployed", "armed_forces", "population", "year"}, 60323, 70551, 83, 1947},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := load(tt.name)
			require.NoError(t, err)
			require.Len(t, d.y, tt.rows)
			require.Len(t, d.x, tt.rows)
			require.Equal(t, tt.columns, d.columns)
			require.Len(t, certified[tt.name], 1+len(d.columns))
			require.Equal(t, []float64{tt.firstY, tt.lastY}, []float64{d.y[0], d.y[tt.rows-1]})
			require.Equal(t, []float64{tt.firstX, tt.lastColumn}, []float64{d.x[0][0], d.x[0][len(d.columns)-1]})
		})
	}
	_, err := load("iris")
	require.Error(t, err)
}

// TestCertified solves the least squares in the data's own units: a wrong digit in the files or in the certified values shows.
func TestCertified(t *testing.T) {
	for name, want := range certified {
		t.Run(name, func(t *testing.T) {
			d, err := load(name)
			require.NoError(t, err)
			a := mat.NewDense(len(d.y), 1+len(d.columns), nil)
			for i, row := range d.x {
				a.SetRow(i, append([]float64{1}, row...))
			}
			var qr mat.QR
			qr.Factorize(a)
			var b mat.Dense
			require.NoError(t, qr.SolveTo(&b, false, mat.NewDense(len(d.y), 1, d.y)))
			// Longley's condition number, in its own units, is 5·10⁹: of 16 digits some 7 are for certain, 9 come out.
			for j := range want {
				require.InEpsilon(t, want[j], b.At(j, 0), 1e-9, "coefficient %d", j)
			}
		})
	}
}

func TestStandardise(t *testing.T) {
	for name := range certified {
		t.Run(name, func(t *testing.T) {
			s := loadStandard(t, name)
			columns := [][]float64{s.y}
			for j := range s.columns {
				columns = append(columns, (&dataset{x: s.x}).column(j))
			}
			for j, c := range columns {
				mean, scale := stat.PopMeanStdDev(c, nil)
				require.InDelta(t, 0, mean, 1e-13, "column %d", j)
				require.InDelta(t, 1, scale, 1e-13, "column %d", j)
			}
		})
	}
}

func TestOriginalUnits(t *testing.T) {
	s := loadStandard(t, "longley")
	b := []float64{0.5, 1, -2, 0.25, 3, -0.125, 0.75}
	o := s.original(b)
	for i := range s.y {
		standard, own := b[0], o[0]
		for j := range s.columns {
			standard += b[j+1] * s.x[i][j]
			own += o[j+1] * s.dataset.x[i][j]
		}
		require.InEpsilon(t, standard*s.yScale+s.yMean, own, 1e-10, "row %d: both coefficients predict the same", i)
	}
	require.False(t, math.Signbit(soft(-1, 2)), "an exact zero is +0")
}
