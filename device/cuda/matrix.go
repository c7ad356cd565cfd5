//go:build cuda && cgo && linux

package cuda

import (
	"fmt"
	"math"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ptx"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A chunker lists chunks, as package ptx lays them out, and counts the sums that these make of a fill.
type chunker struct {
	words  []uint64
	count  int
	places int
}

func (c *chunker) add(words ...int) {
	for _, x := range words {
		c.words = append(c.words, uint64(x))
	}
	c.count++
}

// flat adds a tensor's n elements, or rows or columns, so many a chunk.
func (c *chunker) flat(tensor, n, length int) {
	for lo := 0; lo < n; lo += length {
		c.add(tensor, lo, min(length, n-lo))
		c.places++
	}
}

// rows adds the elements of matrices, about so many a chunk. Sums are those of tiles, row after row.
func (c *chunker) rows(tensor int, t *kernels.Tensor, length int) {
	columns, tiles := t.Columns(), levels(t.Columns())
	inverse, _ := ptx.MatrixInverse(uint64(t.Rows), uint64(t.RowsOfMatrix()))
	for column := 0; column < columns; column += kernels.NormTile {
		n := min(kernels.NormTile, columns-column)
		atOnce := rowsAtOnce(n)
		rows := blocks(max(length/n, 1), atOnce) * atOnce
		for row := 0; row < t.Rows; row += rows {
			c.add(tensor, row, min(rows, t.Rows-row), column, n, c.places+row*tiles+column/kernels.NormTile, tiles, ptx.MatrixShare(n), int(inverse))
		}
	}
	c.places += t.Rows * tiles
}

// columns adds what fills the columns of matrices. Sums are those of blocks of rows, column after column.
func (c *chunker) columns(tensor int, t *kernels.Tensor) {
	columns, sums, all := t.Columns(), columnBlocks(t), max(t.Matrices, 1)*columnBlocks(t)
	inverse, _ := ptx.MatrixInverse(uint64(all), uint64(sums))
	for column := 0; column < columns; column += ptx.MatrixStrip {
		n := min(ptx.MatrixStrip, columns-column)
		atOnce := rowsAtOnce(n)
		for block := 0; block < all; block += atOnce {
			c.add(tensor, block, min(atOnce, all-block), column, n, c.places, sums, ptx.MatrixShare(n), int(inverse))
		}
	}
	c.places += t.Numbers(rule.OfColumns) * sums
}

// columnBlocks is how many blocks of rows a matrix has.
func columnBlocks(t *kernels.Tensor) int { return blocks(t.RowsOfMatrix(), kernels.ColumnRows) }

// divisible refuses a tensor of so many rows that kernels cannot tell which matrix each is of.
func divisible(t *kernels.Tensor) error {
	if t.Rows > 0 {
		if _, ok := ptx.MatrixInverse(uint64(t.Rows), uint64(t.RowsOfMatrix())); !ok {
			return fmt.Errorf("%d rows of %d matrices: %w", t.Rows, t.Matrices, device.ErrUnsupported)
		}
	}
	return nil
}

// rowsAtOnce is how many rows of so many columns a warp has at a time, or blocks of such rows.
func rowsAtOnce(columns int) int { return ptx.Block / ptx.NormWarps >> ptx.MatrixShare(columns) }

// treesOf says how many trees of a fill over a domain a tensor has side by side, and over how many sums each is.
func treesOf(f *kernels.Fill, matrix bool, t *kernels.Tensor, n int) (trees, sums int) {
	switch {
	case !matrix:
		return 1, levels(n)
	case f.Domain == rule.OfRows:
		return t.Rows, levels(t.Columns())
	case f.Domain == rule.OfColumns:
		return t.Numbers(rule.OfColumns), columnBlocks(t)
	}
	return 1, t.Rows * levels(t.Columns())
}

// lineChunk is how many rows or columns a block takes of what ptx.Module.Lines goes through.
const lineChunk = 4096

// addLines adds what makes a tensor's rows or columns, n, numbers of sums from an address on.
func addLines(table []uint64, f *kernels.Fill, t *kernels.Tensor, from uint64, n int) []uint64 {
	plane, terms := t.Planes[f.Plane], 1
	switch {
	case f.Kind != rule.FillMean:
	case f.Domain == rule.OfRows:
		terms = t.Columns()
	default:
		terms = t.RowsOfMatrix()
	}
	for lo := 0; lo < n; lo += lineChunk {
		table = append(table, from+uint64(8*lo), uint64(min(lineChunk, n-lo)), plane.Addr()+uint64(lo*plane.DType().Size()), math.Float64bits(float64(terms)))
	}
	return table
}

// rowsChunk is how many matrices a block takes of what ptx.Module.Rows goes through: each of its warps some, where there are many.
const rowsChunk = 8 * ptx.NormWarps

// addRows adds what makes numbers of a tensor's columns of rows'.
func addRows(table []uint64, f kernels.Fold, t *kernels.Tensor) []uint64 {
	from, to, terms := t.Planes[f.From], t.Planes[f.To], 1
	if f.Kind == rule.FillMean {
		terms = t.RowsOfMatrix()
	}
	matrices := max(t.Matrices, 1)
	for lo := 0; lo < matrices && t.Rows > 0; lo += rowsChunk {
		table = append(table, from.Addr()+uint64(lo*t.RowsOfMatrix()*from.DType().Size()), uint64(t.RowsOfMatrix()),
			to.Addr()+uint64(lo*t.Columns()*to.DType().Size()), uint64(t.Columns()), uint64(min(rowsChunk, matrices-lo)), math.Float64bits(float64(terms)))
	}
	return table
}
