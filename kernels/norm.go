package kernels

import (
	"math"

	"github.com/fusestep/fusestep/kernels/rule"
)

// The gradient norm, and what rules fill a tensor's fields with, is summed by one tree, defined by element index alone, so that its bits depend
// neither on threads nor on blocks nor on chunks. Each tensor is cut into tiles of NormTile elements. Within a tile, lane l of NormLanes adds
// up the squares of elements l, l+NormLanes, l+2·NormLanes, …, in this order, in float64, where the square of
// a float32 is exact; then lanes are halved: lane l += lane l+64, 32, …, 1. The tiles' sums, tensor after tensor, are
// themselves cut into tiles and added the same way, until one is left. The sum over one tensor is that of its own tiles' sums, by the same tree.
// What a pass over the elements of a matrix fills goes by rows: tiles are cut within each row, a row's sum is that of its tiles, and the tensor's that of all
// rows' tiles, row after row. A column's sum is made of blocks of ColumnRows rows of its matrix.
// A maximum goes the same way, from -Inf on: x comes in the place of the number before where it is greater, or a NaN.
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
	return halve(rule.FillSquares, lane[:])
}

// FillTile is the tree over the terms of one tile, at most NormTile: it adds them up, or their squares, or finds the largest. Of a Fold the tile has all of
// a matrix's rows, however many.
func FillTile[F rule.Float](kind rule.Fill, terms []F) float64 {
	if kind == rule.FillSquares {
		return SumSquares(terms, 1)
	}
	var all [NormLanes]float64
	lanes := all[:min(max(len(terms), 1), NormLanes)] // those beyond would change nothing
	for i := range lanes {
		lanes[i] = EmptyFill(kind)
	}
	for ; len(terms) > 0; terms = terms[min(NormLanes, len(terms)):] {
		JoinEach(kind, lanes, terms[:min(NormLanes, len(terms))])
	}
	return halve(kind, lanes)
}

// FoldRows gives the columns of a matrix what a Fold makes of its rows' numbers.
func FoldRows[F rule.Float](kind rule.Fill, columns, rows []F) {
	x := FillTile(kind, rows)
	if kind == rule.FillMean {
		x /= float64(len(rows))
	}
	for i := range columns {
		columns[i] = F(x)
	}
}

// FillTree makes one of what FillTile makes of tiles. It uses tiles as scratch.
func FillTree(kind rule.Fill, tiles []float64) float64 {
	if len(tiles) == 0 {
		return EmptyFill(kind)
	}
	for len(tiles) > 1 {
		n := 0
		for lo := 0; lo < len(tiles); lo += NormTile {
			tile := tiles[lo:min(lo+NormTile, len(tiles))]
			lanes := tile[:min(NormLanes, len(tile))] // those beyond would change nothing
			if kind != rule.FillMax {
				for i := range lanes {
					lanes[i] += 0 // from 0 on, also where it is -0
				}
			}
			for tile = tile[len(lanes):]; len(tile) > 0; tile = tile[min(NormLanes, len(tile)):] {
				JoinEach(kind, lanes, tile[:min(NormLanes, len(tile))])
			}
			tiles[n] = halve(kind, lanes)
			n++
		}
		tiles = tiles[:n]
	}
	return tiles[0]
}

// EmptyFill is what there is of no terms.
func EmptyFill(kind rule.Fill) float64 {
	if kind == rule.FillMax {
		return math.Inf(-1)
	}
	return 0
}

// fill adds x, a term or what several are, to what a lane has.
func fill(kind rule.Fill, lane *float64, x float64) {
	switch {
	case kind != rule.FillMax:
		*lane += x
	case x > *lane || x != x:
		*lane = x
	}
}

// JoinEach adds numbers to what as many lanes have, as FillTree does.
func JoinEach[F rule.Float](kind rule.Fill, lanes []float64, x []F) {
	lanes = lanes[:len(x)]
	if kind != rule.FillMax {
		for i, x := range x {
			lanes[i] += float64(x)
		}
		return
	}
	for i, x := range x {
		fill(kind, &lanes[i], float64(x))
	}
}

// halve joins lanes 64, 32, …, 1 apart, of which there may be fewer than NormLanes.
func halve(kind rule.Fill, lanes []float64) float64 {
	for w := NormLanes / 2; w > 0; w /= 2 {
		if w < len(lanes) {
			JoinEach(kind, lanes[:w], lanes[w:])
			lanes = lanes[:w]
		}
	}
	return lanes[0]
}

// FillColumnTree is FillTree for each of so many columns: of n lines, stride apart, it leaves the results in the first, and uses the others as scratch.
// No line has -0, as what a block of rows begins with has none.
func FillColumnTree(kind rule.Fill, lines []float64, n, stride, columns int) {
	line := func(i int) []float64 { return lines[i*stride:][:columns] }
	for n > 1 {
		tiles := 0
		for lo := 0; lo < n; lo += NormTile {
			k := min(NormTile, n-lo)
			for i := NormLanes; i < k; i++ {
				JoinEach(kind, line(lo+i%NormLanes), line(lo+i))
			}
			for apart := NormLanes / 2; apart > 0; apart /= 2 {
				for l := 0; l < apart && l+apart < k; l++ {
					JoinEach(kind, line(lo+l), line(lo+l+apart))
				}
			}
			copy(line(tiles), line(lo))
			tiles++
		}
		n = tiles
	}
}

// ColumnRows is how many rows are a block: within it a column's terms are added one row after the other, and FillTree adds up the blocks.
const ColumnRows = 64

// FillColumns adds the terms of a row to what a block has of each column. Before its first row a block has what EmptyFill is.
func FillColumns[F rule.Float](kind rule.Fill, block []float64, terms []F) {
	for i, x := range terms {
		y := float64(x)
		if kind == rule.FillSquares {
			y = float64(y * y)
		}
		fill(kind, &block[i], y)
	}
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
func SumTree(sums []float64) float64 { return FillTree(rule.FillSum, sums) }
