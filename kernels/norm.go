package kernels

import "github.com/fusestep/fusestep/kernels/rule"

// The gradient norm is summed by one tree, defined by element index alone, so that its bits depend neither on threads nor
// on blocks nor on chunks. Each tensor is cut into tiles of NormTile elements. Within a tile, lane l of NormLanes adds
// up the squares of elements l, l+NormLanes, l+2·NormLanes, …, in this order, in float64, where the square of
// a float32 is exact; then lanes are halved: lane l += lane l+64, 32, …, 1. The tiles' sums, tensor after tensor, are
// themselves cut into tiles and added the same way, until one is left. The sum over one tensor is that of its own tiles' sums, by the same tree.
//
// The norm of finite gradients is finite, and 0 only where all of them are 0. The squares of float64 need not be: above 2⁵¹² they
// overflow, below 2⁻⁵¹¹ they lose bits. So where the total is +Inf, or below 2⁻⁹⁰⁰, from which on what squares lose to underflow, less than
// 2⁻¹⁰²² each, is below its last bit, the sum is made once more, of elements multiplied by 2⁻⁶⁰⁰ or 2⁶⁰⁰, and the root is divided by
// that. Squares of these lie between 2⁻⁹⁴⁸ and 2⁸⁴⁸. Gradients of float32 never need that: their squares lie between 2⁻²⁹⁸ and 2²⁵⁶, and
// there are fewer than 2⁶³ of them.
//
// 128 lanes are a warp's 32 threads with 16-byte loads of float32; on a CPU they are a few rows of vector registers.
const (
	NormTile  = 4096
	NormLanes = 128
)

// SumSquares is the tree over one tile, at most NormTile elements, each multiplied by scale.
func SumSquares[F rule.Float](tile []F, scale float64) float64 {
	var lane [NormLanes]float64
	for i, x := range tile {
		y := float64(float64(x) * scale)
		lane[i%NormLanes] += float64(y * y)
	}
	return halve(&lane)
}

// NormBy is the norm, made of totals of the whole tree, by a scale each, with NormFirst or NormFirstOfTensors.
func NormBy(first func(*NormSum, *NormOf), total func(scale float64) float64) float64 {
	var out NormOf
	first(&NormSum{Sum: total(1), Scale: 1}, &out)
	if scale := out.Scale; scale != 1 {
		NormScaled(&NormSum{Sum: total(scale), Scale: scale}, &out)
	}
	return out.Norm
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
