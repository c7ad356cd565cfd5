package main

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// reference is the solution that a run is held against, by another method.
type reference struct {
	name     string    // of the method, for the table
	standard []float64 // coefficients of the standardised columns, the intercept first
	original []float64 // in the data's own units
}

func solve(s *standard, p *plan) (*reference, error) {
	if p.l1 > 0 {
		b := coordinateDescent(s, p.l1, p.l2)
		return &reference{"lasso", b, s.original(b)}, nil
	}
	b, err := leastSquares(s, p.l2)
	if err != nil {
		return nil, err
	}
	if p.l2 > 0 {
		return &reference{"ridge", b, s.original(b)}, nil
	}
	return &reference{"certified", b, certified[s.name]}, nil
}

// leastSquares minimises the objective without l1 by a QR factorisation (gonum's): the ridge penalty is k more rows, √(n·l2) on
// the diagonal. The columns have mean 0, so the best intercept is 0, for any penalty on the slopes.
func leastSquares(s *standard, l2 float64) ([]float64, error) {
	n, k := len(s.y), len(s.columns)
	a, y := mat.NewDense(n+k, k, nil), mat.NewDense(n+k, 1, nil)
	for i := range n {
		a.SetRow(i, s.x[i])
		y.Set(i, 0, s.y[i])
	}
	for j := range k {
		a.Set(n+j, j, math.Sqrt(float64(n)*l2))
	}
	var qr mat.QR
	qr.Factorize(a)
	var b mat.Dense
	if err := qr.SolveTo(&b, false, y); err != nil {
		return nil, err
	}
	out := make([]float64, k+1)
	for j := range k {
		out[j+1] = b.At(j, 0)
	}
	return out, nil
}

// hessian is the objective's matrix of second derivatives by the slopes, XᵀX/n + l2·I. The intercept's is 1, by itself.
func hessian(s *standard, l2 float64) *mat.SymDense {
	k := len(s.columns)
	h := mat.NewSymDense(k, nil)
	for i := range k {
		for j := i; j < k; j++ {
			sum := 0.0
			for _, row := range s.x {
				sum += row[i] * row[j]
			}
			h.SetSym(i, j, sum/float64(len(s.x)))
		}
		h.SetSym(i, i, h.At(i, i)+l2)
	}
	return h
}

// maxSweeps is far more than coordinate descent needs on these data, 10^4 or so.
const maxSweeps = 1_000_000

// coordinateDescent minimises the objective with l1 (Friedman et al. 2007): one slope after another is set to its minimum, which is
// 0 in an interval of width 2·l1 (soft thresholding). It ends when a sweep changes no slope by more than its last bit.
func coordinateDescent(s *standard, l1, l2 float64) []float64 {
	h := hessian(s, l2)
	c := correlation(s)
	b := make([]float64, len(c))
	for range maxSweeps {
		moved := false
		for j := range b {
			r := c[j]
			for k := range b {
				if k != j {
					r -= h.At(j, k) * b[k]
				}
			}
			old := b[j]
			b[j] = soft(r, l1) / h.At(j, j)
			moved = moved || math.Abs(b[j]-old) > 0x1p-52*math.Abs(b[j])
		}
		if !moved {
			break
		}
	}
	return append([]float64{0}, b...)
}

// correlation is Xᵀy/n.
func correlation(s *standard) []float64 {
	out := make([]float64, len(s.columns))
	for i, row := range s.x {
		for j, x := range row {
			out[j] += x * s.y[i] / float64(len(s.x))
		}
	}
	return out
}

// soft is r moved towards 0 by l1, and 0 where it would cross.
func soft(r, l1 float64) float64 {
	if math.Abs(r) <= l1 {
		return 0
	}
	return r - math.Copysign(l1, r)
}
