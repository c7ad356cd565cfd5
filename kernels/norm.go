package kernels

import "github.com/fusestep/fusestep/kernels/rule"

// The gradient norm is summed by one tree, defined by element index alone, so that its bits depend neither on threads nor
// on blocks nor on chunks. Each tensor is cut into tiles of NormTile elements. Within a tile, lane l of NormLanes adds
// up the squares of elements l, l+NormLanes, l+2·NormLanes, …, in this order, in float64, where the square of
// a float32 is exact; then lanes are halved: lane l += lane l+64, 32, …, 1. The tiles' sums, tensor after tensor, are
// themselves cut into tiles and added the same way, until one is left.
//
// 128 lanes are a warp's 32 threads with 16-byte loads of float32; on a CPU they are a few rows of vector registers.
const (
	NormTile  = 4096
	NormLanes = 128
)

// SumSquares is the tree over one tile: at most NormTile elements.
func SumSquares[F rule.Float](tile []F) float64 {
	var lane [NormLanes]float64
	for i, x := range tile {
		lane[i%NormLanes] += float64(float64(x) * float64(x))
	}
	return halve(&lane)
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
