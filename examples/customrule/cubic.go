package main

import (
	"errors"
	"math"

	"github.com/fusestep/fusestep/kernels"
)

// points is how many points of the sine the cubic is fitted to.
const points = 64

// residual is the cubic less the sine at point i, and the point.
func residual(b []float32, i int) (r, x float32) {
	x = 2*float32(i)/(points-1) - 1
	y := b[0] + float32(x*(b[1]+float32(x*(b[2]+float32(x*b[3])))))
	return y - float32(math.Sin(2*float64(x))), x
}

func meanSquare(b []float32) float64 {
	sum := 0.0
	for i := range points {
		r, _ := residual(b, i)
		sum += float64(r) * float64(r) / points
	}
	return sum
}

// fitCubic trains a cubic to be sin 2x between -1 and 1, and returns the mean square error before and after.
func fitCubic(backend kernels.Backend, c Settings, steps int) (before, after float64, err error) {
	tr, err := newTrainer(backend, c, make([]float32, 4))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, tr.close()) }()
	before = meanSquare(tr.host)
	g := make([]float32, 4)
	for range steps {
		clear(g)
		for i := range points {
			d, x := residual(tr.host, i)
			d *= 2.0 / points
			for k := range g {
				g[k] += d
				d *= x
			}
		}
		if err := tr.step(g); err != nil {
			return 0, 0, err
		}
	}
	return before, meanSquare(tr.host), nil
}
