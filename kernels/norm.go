package kernels

import (
	"math"

	"github.com/fusestep/fusestep/kernels/rule"
)

// The gradient norm is summed by one tree, defined by element index alone, so that its bits depend neither on threads nor
// on blocks nor on chunks. Each tensor is cut into tiles of NormTile elements. Within a tile, lane l of NormLanes adds
// up the squares of elements l, l+NormLanes, l+2·NormLanes, …, in this order, in float64, where the square of
// a float32 is exact; then lanes are halved: lane l += lane l+64, 32, …, 1. The tiles' sums, tensor after tensor, are
// themselves cut into tiles and added the same way, until one is left.
//
// The norm of finite gradients is finite, and 0 only where all of them are 0. The squares of float64 need not be: above 2⁵¹² they
// overflow, below 2⁻⁵¹¹ they lose bits. So where the total is +Inf, or so small that what was lost counts, the sum is
// made once more, of elements multiplied by NormScale, and the root is divided by it: see NormRoot. Gradients
// of float32 never need that: their squares lie between 2⁻²⁹⁸ and 2²⁵⁶, and there are fewer than 2⁶³ of them.
//
// 128 lanes are a warp's 32 threads with 16-byte loads of float32; on a CPU they are a few rows of vector registers.
const (
	NormTile  = 4096
	NormLanes = 128

	// NormTiny is the total from which on what squares lose to underflow, less than 2⁻¹⁰²² each, is below its last bit.
	NormTiny = 0x1p-900
	// NormDown and NormUp multiply elements where the total is +Inf, and where it is below NormTiny. Squares of what they make
	// lie between 2⁻⁹⁴⁸ and 2⁸⁴⁸.
	NormDown, NormUp = 0x1p-600, 0x1p600
)

// SumSquares is the tree over one tile, at most NormTile elements, each multiplied by scale, which is 1, NormDown or NormUp.
func SumSquares[F rule.Float](tile []F, scale float64) float64 {
	var lane [NormLanes]float64
	for i, x := range tile {
		y := float64(float64(x) * scale)
		lane[i%NormLanes] += float64(y * y)
	}
	return halve(&lane)
}

// NormScale is what elements are to be multiplied by, given the total of their squares: 1 where that total is good, or NaN.
func NormScale(total float64) float64 {
	switch {
	case total > math.MaxFloat64:
		return NormDown
	case total < NormTiny:
		return NormUp
	}
	return 1
}

// NormRoot is the norm, given the total of the squares of elements multiplied by scale. A finite total whose norm is beyond
// float64, such as that of four elements of 1.7e308, gives the largest float64.
func NormRoot(total, scale float64) float64 {
	root := math.Sqrt(total) / scale
	if root > math.MaxFloat64 && total <= math.MaxFloat64 {
		return math.MaxFloat64
	}
	return root
}

// NormBy is the norm, made of totals of the whole tree, by a scale each.
func NormBy(total func(scale float64) float64) float64 {
	sum := total(1)
	scale := NormScale(sum)
	if scale != 1 {
		sum = total(scale)
	}
	return NormRoot(sum, scale)
}

// SumTree adds up the tiles' sums. It uses sums as scratch.
func SumTree(sums []float64) float64 {
	if len(sums) == 0 {
		return 0
	}
	for len(sums) > 1 {
		n := 0
		for lo := 0; lo < len(sums); lo += NormTile {
			var lane [NormLanes]float64
			for i, x := range sums[lo:min(lo+NormTile, len(sums))] {
				lane[i%NormLanes] += x
			}
			sums[n] = halve(&lane)
			n++
		}
		sums = sums[:n]
	}
	return sums[0]
}

func halve(lane *[NormLanes]float64) float64 {
	for w := NormLanes / 2; w > 0; w /= 2 {
		for l := range w {
			lane[l] += lane[l+w]
		}
	}
	return lane[0]
}
