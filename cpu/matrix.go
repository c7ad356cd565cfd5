package cpu

import (
	"unsafe"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A pass over the elements of matrices goes row by row. The loop is given a row's numbers in its block, and planes of columns as planes that begin anew
// with each row, and with each matrix lie further on. What columns are filled with is added, a row after the other, to a plane of float64 for each block of
// kernels.ColumnRows rows of a matrix, which one thread has; when all blocks are through, theirs are added up. Where a matrix is one block, its columns
// are done with that. Passes over rows and columns are passes over so many elements, on one thread, as they are few. Narrow matrices have a way of their own:
// see narrow.go.

// matrices is what an update has of the matrices of its tensors.
type matrices struct {
	big             []int   // the large tensors
	spans           []chunk // columns of them: what a thread adds up at a time
	columnPaces     []pace  // of each pass
	columnFills     int     // most of a pass
	columnSums      int     // float64s of large tensors
	smallColumnSums int     // most of a small one
	phases          []int   // of narrow matrices: how many passes, from each one on, a block goes through before the next one comes; 0 of those that are not the first
	narrowBlocks    int     // most of a narrowPass; 0 where no matrices are narrow
}

// spanColumns are the columns of a span.
const spanColumns = 2048

// differing are the banks of what differs between the elements of a pass.
var differing = []int{rule.ElemBank, rule.RowBank, rule.ColumnBank}

// newUniforms makes an evaluator of what is the same for all elements of a pass.
func newUniforms[F rule.Float](f *ir.Func) *ir.Evaluator[F] {
	return ir.NewUniformEvaluator[F](f, differing...)
}

// matrix notes the matrices of a tensor, whose chunks are about size elements.
func (u *update[F]) matrix(i int, t *kernels.Tensor, v *tensor, size int) {
	if u.columnPaces == nil {
		u.columnPaces = make([]pace, len(u.program.Passes))
		for k := range u.program.Passes {
			u.columnFills = max(u.columnFills, numColumnFills(&u.program.Passes[k]))
		}
	}
	if v.rows, v.columns = t.Rows, t.Columns(); v.rows == 0 {
		return
	}
	v.matrices, v.rowsEach = max(t.Matrices, 1), t.RowsOfMatrix()
	if v.large && u.proc.choice.loops != nil && !u.program.Rule.Everything {
		v.unit = v.narrowUnit(size)
	}
	for _, d := range []rule.Domain{rule.OfElements, rule.OfRows, rule.OfColumns} {
		v.tiles = max(v.tiles, v.numTiles(d))
	}
	if v.large {
		u.big = append(u.big, i)
	}
	sums := u.columnFills * v.blocks() * columnStride(v.columns)
	if !v.large || v.atOnce() {
		u.smallColumnSums = max(u.smallColumnSums, sums)
		return
	}
	v.columnSums = u.columnSums
	u.columnSums += sums
	for lo, n := 0, v.numbers(rule.OfColumns); lo < n; lo += spanColumns {
		u.spans = append(u.spans, chunk{tensor: i, lo: lo, hi: min(lo+spanColumns, n)})
	}
}

// end is where a chunk of about size elements ends that begins at one: behind whole blocks of rows of a matrix, or whole matrices.
func (t *tensor) end(lo, size int) int {
	if t.rows == 0 {
		return lo + size
	}
	if t.unit > 0 {
		return lo + max(size/t.columns/t.unit, 1)*t.unit*t.columns
	}
	row, rows := lo/t.columns, max(size/t.columns/kernels.ColumnRows, 1)*kernels.ColumnRows
	if rows >= t.rowsEach {
		return (row + rows/t.rowsEach*t.rowsEach) * t.columns
	}
	return min(row+rows, (row/t.rowsEach+1)*t.rowsEach) * t.columns
}

// tilesOf are the tiles of so many elements.
func tilesOf(n int) int { return (n + kernels.NormTile - 1) / kernels.NormTile }

// numbers is how many elements, rows or columns a matrix has.
func (t *tensor) numbers(d rule.Domain) int {
	switch d {
	case rule.OfRows:
		return t.rows
	case rule.OfColumns:
		return t.matrices * t.columns
	}
	return t.rows * t.columns
}

// numTiles are the tiles that a pass over a domain fills.
func (t *tensor) numTiles(d rule.Domain) int {
	switch {
	case t.rows == 0:
		return t.tiles
	case t.unit > 0 && d == rule.OfElements:
		return tilesOf(t.rows)
	case d == rule.OfElements:
		return t.rows * tilesOf(t.columns)
	}
	return tilesOf(t.numbers(d))
}

// blocksEach are the blocks of rows of a matrix.
func (t *tensor) blocksEach() int {
	return (t.rowsEach + kernels.ColumnRows - 1) / kernels.ColumnRows
}

// atOnce says whether a matrix is one block, behind which its columns have all of their terms.
func (t *tensor) atOnce() bool { return t.blocksEach() == 1 }

// blocks are the blocks of all matrices that are kept until all are through; or the one that is at work.
func (t *tensor) blocks() int {
	if t.atOnce() {
		return 1
	}
	return t.matrices * t.blocksEach()
}

// columnSums is what the columns of a matrix have in a block of rows: for each of the pass's fills of columns, and for each block, a line of float64s.
type columnSums struct {
	all    []float64 // fill after fill, block after block
	blocks int
	block  int
	stride int
}

// at goes to the block that begins with a row.
func (c *columnSums) at(t *tensor, row int) {
	if !t.atOnce() {
		c.block = row/t.rowsEach*t.blocksEach() + row%t.rowsEach/kernels.ColumnRows
	}
}

// columnStride is the float64s of a line, which begins a cache line.
func columnStride(columns int) int {
	return (columns+emit.Beyond-1)/emit.Beyond*emit.Beyond + emit.Beyond
}

// newColumns is memory for so many float64s of columns.
func newColumns(n int) []float64 {
	size := n * int(unsafe.Sizeof(float64(0)))
	return as[float64](aligned(make([]byte, size+cacheLine), size, cacheLine))[:n:n]
}

func (t *tensor) columnsIn(all []float64) columnSums {
	return columnSums{all: all, blocks: t.blocks(), stride: columnStride(t.columns)}
}

// of is the line of one of the fills of columns.
func (c *columnSums) of(fill int) []float64 {
	return c.all[(fill*c.blocks+c.block)*c.stride:][:c.stride]
}

// begin sets the block's lines to what they begin with.
func (c *columnSums) begin(q *kernels.Pass) {
	column := 0
	for _, f := range q.Fills {
		if f.Domain != rule.OfColumns {
			continue
		}
		line, x := c.of(column), kernels.EmptyFill(f.Kind)
		column++
		if x == 0 {
			clear(line)
			continue
		}
		for i := range line {
			line[i] = x
		}
	}
}

// numColumnFills is how many of a pass's fills are of columns.
func numColumnFills(q *kernels.Pass) (n int) {
	for _, f := range q.Fills {
		if f.Domain == rule.OfColumns {
			n++
		}
	}
	return n
}

// skip are those behind so many.
func (r results) skip(tiles int) results {
	r.first += tiles
	return r
}

// rowPlanes are the planes of rows that a pass reads, in the order of the loop's addresses.
func rowPlanes(q *kernels.Pass) (list []int) {
	for _, u := range q.Uniforms {
		if plane, ok := rowOf(q, u); ok {
			list = append(list, plane)
		}
	}
	return list
}

// matrix runs a pass over a chunk's elements: whole rows. Next is nil, or the tensor that comes behind a small one. Tiles and columns are the tensor's.
func (s *step[F]) matrix(h *hand[F], pass int, c *chunk, next *tensor, made []float64, to results, columns []float64) {
	t, q := &s.u.tensors[c.tensor], &s.u.program.Passes[pass]
	scalars := s.scalarsFor(h, c.tensor, made)
	if t.shape != nil {
		s.narrow(h, pass, t, c.lo/t.columns, c.hi/t.columns, s.blockFor(h, pass, t), to, columns)
		return
	}
	if s.u.vectors == nil {
		s.given(h, scalars)
	} else {
		copy(h.block, s.blockFor(h, pass, t))
	}
	sums, last, ofColumns := t.columnsIn(columns), c.hi/t.columns, numColumnFills(q) > 0
	for lo, hi := c.lo/t.columns, 0; lo < last; lo = hi {
		matrix := lo / t.rowsEach
		if hi = min(last, (matrix+1)*t.rowsEach); ofColumns || len(q.Fills) > 0 && t.columns > kernels.NormTile {
			hi = min(lo+kernels.ColumnRows, hi)
		}
		sums.at(t, lo)
		sums.begin(q)
		if s.u.vectors != nil {
			s.u.vectors[pass].rows(t, next, lo, hi, h.block, &h.scratch, to, &sums)
		}
		for row := lo; row < hi && s.u.vectors == nil; row++ {
			s.applyRow(h, pass, t, row, scalars, to.skip(row*tilesOf(t.columns)), &sums)
		}
		fillRows[F](q, t, lo, hi, to)
		if ofColumns && t.atOnce() {
			fillColumns[F](q, t, &sums, 0, matrix*t.columns, t.columns)
		}
	}
}

// fillRows stores what rows lo to hi are filled with.
func fillRows[F rule.Float](q *kernels.Pass, t *tensor, lo, hi int, from results) {
	tiles := tilesOf(t.columns)
	for k, f := range q.Fills {
		if f.Domain != rule.OfRows {
			continue
		}
		to := as[F](t.planes[f.Plane])[lo:hi]
		if tiles == 1 {
			fillEach(to, f, from.all[k*from.stride+from.first:][lo:hi], t.columns)
			continue
		}
		for i := range to {
			fillEach(to[i:i+1], f, []float64{from.skip((lo+i)*tiles).total(f, k, tiles)}, t.columns)
		}
	}
}

// fillEach stores what rows or columns are filled with, by so many terms each.
func fillEach[F rule.Float](to []F, f kernels.Fill, sums []float64, terms int) {
	to = to[:len(sums)]
	if f.Kind == rule.FillMean {
		n := float64(terms)
		for i, x := range sums {
			to[i] = F(x / n)
		}
		return
	}
	for i, x := range sums {
		to[i] = F(x)
	}
}

// rows runs the loop over rows lo to hi, of one block, and leaves what it fills of tiles in to. Rows of several tiles go one by one, as memory has them.
func (v *vectors[F]) rows(t, next *tensor, lo, hi int, block []F, s *scratch[F], to results, sums *columnSums) {
	code := v.codeFor(next)
	size, tiles, step := t.columns, 1, hi-lo
	if len(v.pass.Fills) > 0 && t.columns > kernels.NormTile {
		size, tiles, step = kernels.NormTile, tilesOf(t.columns), 1
	}
	for ; lo < hi; lo += step {
		for at := 0; at < t.columns; at += size {
			n := v.pointRows(code, t, lo, at, at/kernels.NormTile, s, to.skip(lo*tiles), sums)
			v.pointNext(code, t, next, s, n, lo*t.columns+at)
			code.loop.setRows(s.frame, step, t.columns, tiles)
			code.loop.run(s.pointers, (*byte)(unsafe.Pointer(&block[0])), s.frame, t.index+uint64(lo*t.columns+at), min(size, t.columns-at))
		}
	}
}

// pointRows makes the scratch's pointers those of a row's element, of which the row's tiles have the first of to, and returns how many those are.
func (v *vectors[F]) pointRows(code *passLoop, t *tensor, row, at, tile int, s *scratch[F], to results, sums *columnSums) (n int) {
	point := func(p unsafe.Pointer) {
		s.pointers[n] = (*byte)(p)
		n++
	}
	for _, k := range code.touches {
		plane := &v.program.Planes[k]
		element := at
		switch plane.Domain {
		case rule.OfElements:
			element += row * t.columns
		case rule.OfColumns:
			element += t.firstColumn(row)
		}
		point(unsafe.Pointer(&t.planes[k][element*plane.DType.Size()]))
	}
	s.pointKept(code.kept, n, row*t.columns+at)
	n += len(code.kept)
	column := 0
	for _, f := range v.pass.Fills {
		if f.Domain == rule.OfColumns {
			point(unsafe.Pointer(&sums.of(column)[at]))
			column++
		}
	}
	for _, k := range code.rowPlanes {
		point(unsafe.Pointer(&as[F](t.planes[k])[row]))
	}
	for k, f := range v.pass.Fills {
		if f.Domain != rule.OfColumns {
			point(unsafe.Pointer(to.tile(k, tile)))
		}
	}
	return n
}

// firstColumn is that of a row's matrix.
func (t *tensor) firstColumn(row int) int { return row / t.rowsEach * t.columns }

// applyRow is row by the rule itself.
func (s *step[F]) applyRow(h *hand[F], pass int, t *tensor, row int, scalars []F, to results, sums *columnSums) {
	p, program := &h.pass, s.u.program
	for i := range program.Slots {
		if slot := &program.Slots[i]; slot.Domain == rule.OfRows {
			p.Row[slot.Index] = as[F](t.planes[slot.Plane])[row]
		}
	}
	first := t.firstColumn(row)
	s.byWindows(h, pass, t, row*t.columns, (row+1)*t.columns, scalars, to, sums, func(term, before int) {
		for i := range program.Slots {
			if slot := &program.Slots[i]; slot.Domain == rule.OfColumns && h.window.loads[slot.Plane] {
				p.Columns[slot.Index] = as[F](t.planes[slot.Plane])[first+before:][:h.window.n]
			}
		}
		s.applyTo(h, pass, term)
	})
}

// largeLines runs a pass over the rows or the columns of a large tensor.
func (s *step[F]) largeLines(thread, i int) {
	tensor := s.u.big[i]
	if t := &s.u.tensors[tensor]; !s.off(tensor) && !(t.inPhases() && s.u.phases[s.pass] == 0) {
		c := chunk{tensor: tensor, hi: t.numbers(s.u.program.Passes[s.pass].Domain)}
		s.fold(&s.space.hands[thread][s.pass], s.pass, t, 0, t.matrices)
		s.chunk(&s.space.hands[thread][s.pass], s.pass, &c, nil, s.madeOf(t), s.tilesOf(s.pass, t))
	}
}

// fold makes what a pass over columns reads of rows' numbers, in matrices lo to hi.
func (s *step[F]) fold(h *hand[F], pass int, t *tensor, lo, hi int) {
	for _, f := range s.u.program.Passes[pass].Folds {
		from, to := as[F](t.planes[f.From])[lo*t.rowsEach:], as[F](t.planes[f.To])[lo*t.columns:hi*t.columns]
		n := 0
		if t.shape != nil {
			n = h.narrow.fold(f, t, from, to)
		}
		for i := n; i < hi-lo; i++ {
			kernels.FoldRows(f.Kind, to[i*t.columns:][:t.columns], from[i*t.rowsEach:][:t.rowsEach])
		}
	}
}

// largeColumns adds up what some columns of a large tensor are filled with.
func (s *step[F]) largeColumns(_, i int) {
	c := &s.u.spans[i]
	if t := &s.u.tensors[c.tensor]; !s.off(c.tensor) {
		s.fillColumns(s.pass, t, s.space.columns[t.columnSums:], c.lo, c.hi)
	}
}

// fillColumns stores what a pass fills columns lo to hi with, of matrices of several blocks.
func (s *step[F]) fillColumns(pass int, t *tensor, all []float64, lo, hi int) {
	sums := t.columnsIn(all)
	for n := 0; lo < hi && !t.atOnce(); lo += n {
		n = min(hi-lo, t.columns-lo%t.columns)
		sums.block = lo / t.columns * t.blocksEach()
		fillColumns[F](&s.u.program.Passes[pass], t, &sums, lo%t.columns, lo, n)
	}
}

// fillColumns stores what n columns of a matrix are filled with, of which sums is at the first block: from one of its columns on, to one of the planes'.
func fillColumns[F rule.Float](q *kernels.Pass, t *tensor, sums *columnSums, from, to, n int) {
	column := 0
	for _, f := range q.Fills {
		if f.Domain != rule.OfColumns {
			continue
		}
		lines := sums.all[(column*sums.blocks+sums.block)*sums.stride+from:]
		kernels.FillColumnTree(f.Kind, lines, t.blocksEach(), sums.stride, n)
		fillEach(as[F](t.planes[f.Plane])[to:][:n], f, lines[:n], t.rowsEach)
		column++
	}
}
