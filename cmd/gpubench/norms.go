package main

import (
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
)

// norms are what is measured of gradients.
type norms struct {
	all  float64
	sums []kernels.TensorSums // of each tensor
}

// normsOf are those of gradients that were filled with a pattern, at which phases, by the tree of kernels.SumSquares.
func normsOf(p *pattern, t device.DType, tensors []tensor, phase func(tensor int) int64) (out norms) {
	var tile [kernels.NormTile]float64
	out.sums = make([]kernels.TensorSums, len(tensors))
	out.all = kernels.NormBy(kernels.NormFirstOfTensors, func(scale float64) float64 {
		var sums []float64
		for i, x := range tensors {
			first, n := len(sums), x.Len()
			for lo := int64(0); lo < n; lo += kernels.NormTile {
				own := tile[:min(kernels.NormTile, n-lo)]
				for k := range own {
					own[k] = reference.Value(t, p.number(x, rule.OfElements, phase(i), lo+int64(k)))
				}
				sums = append(sums, kernels.SumSquares(own, scale))
			}
			switch of := kernels.SumTree(slices.Clone(sums[first:])); {
			case scale == 1:
				out.sums[i].Sum = of
			case t == device.Float64:
				out.sums[i].Scaled = of
			}
		}
		return kernels.SumTree(sums)
	})
	return out
}
