package main

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// checkedLayer is how a run of Layer on the device compares.
type checkedLayer struct {
	different int     // elements whose bits are not those of the Go functions
	worst     float64 // largest relative error of a step's length, which is LR times the tensor's norm
	bound     float64 // of worst
}

// checkLayer runs Layer on the device over n elements with random gradients, and beside it the Go functions.
func checkLayer[F rule.Float](backend kernels.Backend, h Layer, n int) (out checkedLayer, err error) {
	rng := rand.New(rand.NewPCG(3, 4))
	normal := func() []F {
		x := make([]F, n)
		for i := range x {
			x[i] = F(rng.NormFloat64())
		}
		return x
	}
	tr, err := newTrainer(backend, h, normal())
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, tr.close()) }()
	elems := make([]LayerElem[F], n)
	for i, p := range tr.host {
		elems[i].P = p
	}
	for range checkSteps {
		before, g := floats(tr.host), normal()
		if err := tr.step(g); err != nil {
			return out, err
		}
		for i := range elems {
			elems[i].G = g[i]
		}
		layerStep(h, elems)
		var moved, norm float64
		for i, x := range floats(tr.host) {
			d := x - before[i]
			moved, norm = moved+d*d, norm+before[i]*before[i]
		}
		if norm > 0 {
			out.worst = max(out.worst, math.Abs(math.Sqrt(moved/norm)/h.LR-1))
		}
	}
	for i, e := range elems {
		if !sameBits(tr.host[i], e.P) {
			out.different++
		}
	}
	// LR, the rate and its product are rounded, which is relative to the step, and the difference, which is relative to the parameter. The
	// sums above are rounded for each element, and those of the device less often.
	out.bound = unit[F]()*(8+2/h.LR) + 2*float64(n+1)*unit[float64]()
	return out, nil
}

// layerStep is a step by the Go functions, as a device makes it.
func layerStep[F rule.Float](h Layer, elems []LayerElem[F]) {
	var s LayerScalars[float64]
	LayerPrologue(&h, nil, &s, struct{}{})
	rounded := LayerScalars[F]{LR: F(s.LR)}

	p, g := make([]F, len(elems)), make([]F, len(elems))
	for i := range elems {
		var term LayerTensor[F]
		LayerSums(&elems[i], &rounded, &term, struct{}{})
		p[i], g[i] = term.P, term.G
	}
	t := LayerTensor[float64]{P: squares(p), G: squares(g)}
	LayerRate(&t, &LayerScalars[float64]{LR: float64(rounded.LR)}, struct{}{})
	seen := LayerTensor[F]{Rate: F(t.Rate)}
	for i := range elems {
		LayerStep(&elems[i], &rounded, &seen, struct{}{})
		elems[i].P = rule.Flush(elems[i].P) // as every parameter is
	}
}

// squares adds up the squares of terms, by the tree that every device has.
func squares[F rule.Float](terms []F) float64 {
	var tiles []float64
	for tile := range slices.Chunk(terms, kernels.NormTile) {
		tiles = append(tiles, kernels.FillTile(rule.FillSquares, tile))
	}
	return kernels.FillTree(rule.FillSquares, tiles)
}
