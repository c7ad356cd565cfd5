package main

import "github.com/fusestep/fusestep/kernels/rule"

// design is a standardised dataset in the number type of the parameters.
type design[F rule.Float] struct {
	y []F
	x [][]F
}

func newDesign[F rule.Float](s *standard) *design[F] {
	d := &design[F]{}
	for i, row := range s.x {
		d.y = append(d.y, F(s.y[i]))
		var r []F
		for _, v := range row {
			r = append(r, F(v))
		}
		d.x = append(d.x, r)
	}
	return d
}

// gradient puts the gradient of the squared error's half, averaged over the given rows, into g, whose first element is the
// intercept's. The penalties are the optimizer's business. Products are rounded before they are added, as in a rule, so that
// the run is the same on every processor.
func (d *design[F]) gradient(g, b []F, rows []int) {
	clear(g)
	for _, i := range rows {
		r := b[0] - d.y[i]
		for j, x := range d.x[i] {
			r += F(x * b[j+1])
		}
		g[0] += r
		for j, x := range d.x[i] {
			g[j+1] += F(x * r)
		}
	}
	for j := range g {
		g[j] /= F(len(rows))
	}
}
