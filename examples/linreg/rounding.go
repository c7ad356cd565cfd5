package main

import (
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/fusestep/fusestep/device"
)

// roundingErrors bounds what rounding can do to each coefficient in its own units: the absolute error, the intercept's
// first.
//
// Near the minimum b, one step takes the error e to (I - lr·H)·e + lr·δg + δb, where H is the Hessian, |δg| ≤ G
// is the error of the gradient and |δb| ≤ u·|b| that of rounding the coefficients. Summed over all steps, in the
// 2-norm, with λ the least eigenvalue of H: |e| ≤ G/λ + u·|b|·W. W, how many roundings are remembered, is 1/(lr·λ) with the
// least lr of the run, or all steps if that is less. For gd, with lr below 2/(λmax+λ), this is a proof but for terms of second
// order. For the others it is an estimate: a batch of sgd has a Hessian of its own, and Adam near a minimum steps as gd
// does at its largest stable lr, 1/λmax or more, because it divides by the gradient's own size.
func roundingErrors(s *standard, p *plan, b []float64) []float64 {
	var eig mat.EigenSym
	eig.Factorize(hessian(s, p.l2), false)
	lambda := eig.Values(nil)                                       // in ascending order
	least, most := min(lambda[0], 1), max(lambda[len(lambda)-1], 1) // the intercept's is 1
	lr := p.lr * p.decay
	if p.method == "adam" {
		lr = 1 / most
	}
	u := unitRoundoff(p.dtype)
	remembered := min(float64(p.steps), 1/(lr*least))
	e := gradientError(s, p, b)/least + u*floats.Norm(b, 2)*remembered

	// Each standardised coefficient is off by e at most; the intercept in the data's units takes in all of them.
	out := make([]float64, len(b))
	ratio := make([]float64, len(s.means))
	for j, mean := range s.means {
		out[j+1] = e * s.yScale / s.scales[j]
		ratio[j] = mean / s.scales[j]
	}
	out[0] = e * s.yScale * math.Hypot(1, floats.Norm(ratio, 2))
	return out
}

// gradientError bounds the 2-norm of the gradient's error at b. A residual is a sum of k+2 terms, each of a rounded
// product of rounded data: k+4 roundings of the sum of the magnitudes. The sum over n rows adds n+2 of its own, of
// the magnitudes of x·r, and the penalties' terms are three operations more.
func gradientError(s *standard, p *plan, b []float64) float64 {
	n, k := float64(len(s.y)), float64(len(s.columns))
	u := unitRoundoff(p.dtype)
	g := make([]float64, len(b))
	for i, row := range s.x {
		size, r := math.Abs(s.y[i])+math.Abs(b[0]), b[0]-s.y[i]
		for j, x := range row {
			size += math.Abs(x * b[j+1])
			r += x * b[j+1]
		}
		e := u * ((k+4)*size + (n+2)*math.Abs(r)) / n
		g[0] += e
		for j, x := range row {
			g[j+1] += math.Abs(x) * e
		}
	}
	for j := range s.columns {
		g[j+1] += 3 * u * (p.l2*math.Abs(b[j+1]) + p.l1)
	}
	return floats.Norm(g, 2)
}

// unitRoundoff is the largest relative error of one rounding.
func unitRoundoff(t device.DType) float64 {
	if t == device.Float32 {
		return 0x1p-24
	}
	return 0x1p-53
}
