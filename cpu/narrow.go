package cpu

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A narrow matrix has rows of a few elements, such as those of a convolution's kernels, of which a weight has many. To begin a row takes longer than its
// elements do. So a pass over the elements of narrow matrices, which follow each other in memory, goes block by block: rows' and columns' numbers are
// spread over a block, each element gets its own; a loop over elements that knows no rows makes the block's terms; and these are added up behind it, by
// kernels.FillTile's tree of so few lanes. All of this is in the first-level cache.
//
// Where a block has whole matrices, it goes through several passes before the next one comes: those over its rows and columns and those behind them, up to
// one that asks for what the tensor has: see phases.

// narrowColumns are the elements of a row up to which a matrix is narrow.
const narrowColumns = 16

// narrowLen is the elements of a block, about: as many as kernels.ColumnRows rows of narrow matrices have at least.
const narrowLen = kernels.ColumnRows * narrowColumns

// narrowPass is a pass over the elements of narrow matrices.
type narrowPass struct {
	loop   *loop         // nil: nothing is stored, and no term computed
	planes []narrowPlane // in the order of the loop's addresses
	spread []int         // places in planes of rows' and columns' numbers
	terms  []narrowPlane // of each fill
	blocks int           // blocks that a thread needs
}

// narrowPlane is where numbers are: in a plane of the program's, or in a block of the thread's, into which numbers of rows or columns are spread.
type narrowPlane struct{ plane, block int }

// narrowShape is the code for matrices of a shape.
type narrowShape struct {
	spreadRows, spreadColumns *loop    // the latter where a block has whole matrices
	sumRows, sumColumns       [2]*loop // of terms, and of their squares. Columns are those of a matrix where a block has it all, or of kernels.ColumnRows rows
	sumRest                   [2]*loop // of the rows that are left of a matrix; nil where none are
	fold                      [2]*loop // sumRows of what the rows of a matrix have, where there are so few of them
}

// isNarrow says whether matrices are narrow. Those of many rows are not with more than half of these columns: there, going row by row takes no longer.
func (t *tensor) isNarrow() bool {
	return t.rows > 0 && (t.columns <= narrowColumns/2 || t.columns <= narrowColumns && t.atOnce())
}

// forNarrow makes the code for narrow matrices, if there are some.
func (u *update[F]) forNarrow() (err error) {
	if u.vectors == nil || u.vectors[0].loop == nil {
		return nil
	}
	shapes := map[[2]int]*narrowShape{}
	for i := range u.tensors {
		t := &u.tensors[i]
		if !t.isNarrow() {
			continue
		}
		shape := [2]int{t.rowsEach, t.columns}
		if shapes[shape] == nil {
			if shapes[shape], err = u.newNarrowShape(t); err != nil {
				return err
			}
		}
		t.shape = shapes[shape]
	}
	for _, v := range u.vectors {
		if len(shapes) == 0 || !v.pass.ByRows {
			continue
		}
		if v.narrow, err = u.newNarrowPass(v.pass); err != nil {
			return err
		}
		u.narrowBlocks = max(u.narrowBlocks, v.narrow.blocks, 1)
	}
	if slices.ContainsFunc(u.tensors, func(t tensor) bool { return t.inPhases() }) {
		u.findPhases()
	}
	return nil
}

// inPhases says whether the matrices of a large tensor go through phases: a block has whole ones.
func (t *tensor) inPhases() bool { return t.shape != nil && t.large && t.atOnce() }

// findPhases finds how many passes a block of whole matrices can go through: up to one that asks for what the tensor has, or that is over rows or columns and
// adds to it, as tiles are then cut elsewhere.
func (u *update[F]) findPhases() {
	passes := u.program.Passes
	u.phases = make([]int, len(passes))
	first, fills := -1, 0 // of the phase
	for i, q := range passes {
		elements := q.Domain == rule.OfElements
		if first >= 0 && q.Tensor == nil && (elements || len(q.Fills) == 0) {
			u.phases[first]++
		} else {
			u.phases[i], first, fills = 1, -1, 0
			if elements {
				first = i
			}
		}
		u.firstFill[i] = fills
		fills += len(q.Fills)
		u.fills = max(u.fills, fills)
	}
}

// phase runs the passes of a phase over a chunk of narrow matrices, block by block.
func (s *step[F]) phase(thread int, c *chunk) {
	t := &s.u.tensors[c.tensor]
	made, columns := s.madeOf(t), t.columns
	for lo, hi, n := c.lo/columns, c.hi/columns, 0; lo < hi && s.u.phases[s.pass] > 0; lo += n {
		n = t.narrowRows(lo, hi)
		for pass := s.pass; pass < s.pass+s.u.phases[s.pass]; pass++ {
			h := &s.space.hands[thread][pass]
			switch s.u.program.Passes[pass].Domain {
			case rule.OfElements:
				s.scalarsFor(h, c.tensor, made)
				s.narrowBlock(h, pass, t, lo, lo+n, s.blockFor(h, pass, t), s.tilesOf(pass, t), nil)
			case rule.OfRows:
				s.chunk(h, pass, &chunk{c.tensor, lo, lo + n}, nil, made, results{})
			default:
				first, matrices := lo/t.rowsEach, n/t.rowsEach
				s.fold(h, pass, t, first, first+matrices)
				s.chunk(h, pass, &chunk{c.tensor, first * columns, (first + matrices) * columns}, nil, made, results{})
			}
		}
	}
}

// narrowUnit is the rows that whole matrices and whole tiles of rows' tiles are, for tensor.unit; 0 where these are too many for chunks of about size
// elements. What each row of a tensor adds would take 8 bytes of memory, which is much where it has a few elements of 4.
func (t *tensor) narrowUnit(size int) int {
	const most = 64 << 10
	if !t.isNarrow() || !t.atOnce() {
		return 0
	}
	rows := kernels.NormTile
	for rows%t.rowsEach != 0 {
		rows += kernels.NormTile
	}
	if rows*t.columns > max(size, most) {
		return 0
	}
	return rows
}

// newNarrowShape makes the code for the shape of a tensor's matrices.
func (u *update[F]) newNarrowShape(t *tensor) (s *narrowShape, err error) {
	s = &narrowShape{}
	code := func(l emit.Narrow) (code *loop) {
		if err == nil {
			l.Size = u.program.Compute.Size()
			code, err = u.proc.shared(loopKey{more: fmt.Sprintf("%+v", l)}, l.Compile)
		}
		return code
	}
	s.spreadRows = code(emit.Narrow{Does: emit.SpreadRows, Columns: t.columns})
	rows, stride := kernels.ColumnRows, columnStride(t.columns)
	if t.atOnce() {
		rows, stride = t.rowsEach, t.columns
		s.spreadColumns = code(emit.Narrow{Does: emit.SpreadColumns, Columns: t.columns, Rows: rows})
	}
	for i, squares := range []bool{false, true} {
		s.sumRows[i] = code(emit.Narrow{Does: emit.SumRows, Columns: t.columns, Squares: squares})
		s.sumColumns[i] = code(emit.Narrow{Does: emit.SumColumns, Columns: t.columns, Rows: rows, Stride: stride, Squares: squares})
		if rest := t.rowsEach % rows; rest > 0 {
			s.sumRest[i] = code(emit.Narrow{Does: emit.SumColumns, Columns: t.columns, Rows: rest, Squares: squares})
		}
		if t.rowsEach <= narrowColumns {
			s.fold[i] = code(emit.Narrow{Does: emit.SumRows, Columns: t.rowsEach, Squares: squares})
		}
	}
	return s, err
}

// newNarrowPass makes a pass's code. Uniforms are those of the pass, in the same order, as the two share blocks: in place of a row's number there is one
// that nothing uses.
func (u *update[F]) newNarrowPass(q *kernels.Pass) (*narrowPass, error) {
	w := &narrowPass{}
	f := *q.Graph
	f.Stores = nil
	none := ir.Value(len(f.Nodes))
	f.Nodes, f.Names = append(slices.Clone(f.Nodes), ir.Node{Op: ir.Const}), append(slices.Clone(f.Names), "")
	varying, uniforms := append(slices.Clone(q.Varying), false), slices.Clone(q.Uniforms)
	for i, v := range uniforms {
		if _, ok := rowOf(q, v); ok {
			uniforms[i], varying[v] = none, true
		}
	}
	newBlock := func() int {
		w.blocks++
		return w.blocks - 1
	}
	fields := slices.Concat(q.Loads, q.Stores)
	made := map[ir.Value]narrowPlane{} // terms
	for _, s := range q.Graph.Stores {
		k := slices.IndexFunc(q.Fills, func(f kernels.Fill) bool { return f.Var == s.Var })
		if k < 0 {
			f.Stores = append(f.Stores, s)
			continue
		}
		if _, ok := made[s.Value]; ok {
			continue
		}
		if n := &f.Nodes[s.Value]; n.Op == ir.Var && slices.Contains(q.Loads, n.Index) && !slices.Contains(q.Stores, n.Index) &&
			f.Vars[n.Index].Bank == rule.ElemBank && f.Vars[n.Index].Type == ir.Float {
			made[s.Value] = narrowPlane{n.Index, -1}
			continue
		}
		made[s.Value] = narrowPlane{s.Var, newBlock()}
		fields, f.Stores = append(fields, s.Var), append(f.Stores, s)
	}
	for _, fill := range q.Fills {
		s := q.Graph.Stores[slices.IndexFunc(q.Graph.Stores, func(s ir.Store) bool { return s.Var == fill.Var })]
		w.terms = append(w.terms, made[s.Value])
	}
	if len(f.Stores) == 0 {
		return w, nil
	}
	loads := f.Loads()
	fields = slices.DeleteFunc(fields, func(k int) bool {
		return !slices.Contains(loads, k) && !slices.ContainsFunc(f.Stores, func(s ir.Store) bool { return s.Var == k })
	})
	slices.Sort(fields)
	fields = slices.Compact(fields)
	for i, k := range fields {
		p := narrowPlane{k, -1}
		for _, of := range made {
			if of.block >= 0 && of.plane == k {
				p = of
			}
		}
		if bank := f.Vars[k].Bank; bank == rule.RowBank || bank == rule.ColumnBank {
			if p.block < 0 {
				p.block = newBlock()
			}
			if slices.Contains(loads, k) {
				w.spread = append(w.spread, i)
			}
		}
		w.planes = append(w.planes, p)
	}
	key := keyOf(&f, nil, false, u.proc.prefetching(u.extent()))
	code, err := u.proc.shared(key, func() (*emit.Code, error) {
		return emit.Compile(emit.Loop{Func: &f, Planes: fields, Uniforms: uniforms, Varying: varying, Set: u.proc.choice.loops, Near: key.ahead.near, Far: key.ahead.far})
	})
	w.loop = code
	return w, err
}

// narrowScratch is what a thread needs for narrow matrices.
type narrowScratch[F rule.Float] struct {
	blocks   [][]F
	lanes    [][kernels.NormLanes]float64 // of each fill of a phase
	columns  []F                          // the last ones of a plane, behind which there is memory
	sums     []float64                    // of rows, or columns
	pointers []*byte                      // of a pass's loop
	two      [2]*byte                     // of a shape's
}

// newNarrowScratch returns nil where there are no narrow matrices.
func (u *update[F]) newNarrowScratch() *narrowScratch[F] {
	if u.narrowBlocks == 0 {
		return nil
	}
	s := &narrowScratch[F]{columns: make([]F, narrowLen+emit.Past), sums: newColumns(narrowLen + emit.Past)}
	s.lanes = make([][kernels.NormLanes]float64, u.fills)
	for range u.narrowBlocks {
		size := (narrowLen + emit.Past) * int(unsafe.Sizeof(F(0)))
		s.blocks = append(s.blocks, as[F](aligned(make([]byte, size+cacheLine), size, cacheLine)))
	}
	for _, v := range u.vectors {
		if v.narrow != nil {
			s.pointers = slices.Grow(s.pointers, len(v.narrow.planes))
		}
	}
	return s
}

// run runs a shape's loop over so many rows or matrices.
func (s *narrowScratch[F]) run(l *loop, from *F, to unsafe.Pointer, n int) {
	s.two = [2]*byte{(*byte)(unsafe.Pointer(from)), (*byte)(to)}
	l.code.Run(&s.two[0], nil, nil, n)
}

// narrowRows are the rows of a block that begins with a row: whole matrices, or of one that has more rows whole blocks of kernels.ColumnRows.
func (t *tensor) narrowRows(row, end int) int {
	if t.atOnce() {
		return min(end-row, max(narrowLen/(t.rowsEach*t.columns), 1)*t.rowsEach)
	}
	return min(end-row, t.rowsEach-row%t.rowsEach, narrowLen/(kernels.ColumnRows*t.columns)*kernels.ColumnRows)
}

// narrow runs a pass over rows lo to hi of narrow matrices, block by block.
func (s *step[F]) narrow(h *hand[F], pass int, t *tensor, lo, hi int, block []F, to results, columns []float64) {
	for n := 0; lo < hi; lo += n {
		n = t.narrowRows(lo, hi)
		s.narrowBlock(h, pass, t, lo, lo+n, block, to, columns)
	}
}

// narrowBlock runs a pass over a block of narrow matrices.
func (s *step[F]) narrowBlock(h *hand[F], pass int, t *tensor, lo, hi int, block []F, to results, columns []float64) {
	w, x := s.u.vectors[pass].narrow, h.narrow
	pointers := x.pointers[:len(w.planes)]
	for i, p := range w.planes {
		switch {
		case p.block < 0:
			pointers[i] = &t.planes[p.plane][lo*t.columns*s.u.program.Planes[p.plane].DType.Size()]
		case slices.Contains(w.spread, i) && s.u.program.Planes[p.plane].Domain == rule.OfRows:
			pointers[i] = (*byte)(unsafe.Pointer(x.spreadRows(x.blocks[p.block], as[F](t.planes[p.plane]), t, lo, hi)))
		case slices.Contains(w.spread, i):
			pointers[i] = (*byte)(unsafe.Pointer(x.spreadColumns(x.blocks[p.block], as[F](t.planes[p.plane]), t, lo, hi)))
		default:
			pointers[i] = (*byte)(unsafe.Pointer(&x.blocks[p.block][0]))
		}
	}
	if w.loop != nil {
		w.loop.run(pointers, (*byte)(unsafe.Pointer(&block[0])), h.scratch.frame, t.index+uint64(lo*t.columns), (hi-lo)*t.columns)
	}
	column := 0
	for k, f := range s.u.program.Passes[pass].Fills {
		var terms []F
		left := hi - lo // rows that have others, or memory, behind them
		if p := w.terms[k]; p.block >= 0 {
			terms = x.blocks[p.block]
		} else if terms = as[F](t.planes[p.plane])[lo*t.columns:]; hi == t.rows {
			left = max(left-emit.Past, 0)
		}
		switch {
		case f.Domain == rule.OfTensor && t.unit > 0:
			x.sumRows(f.Kind, t, terms, left, x.sums[:hi-lo])
			addRows(f.Kind, &x.lanes[s.u.firstFill[pass]+k], x.sums[:hi-lo], t, lo, to.all[k*to.stride+to.first:])
		case f.Domain == rule.OfTensor:
			x.sumRows(f.Kind, t, terms, left, to.all[k*to.stride+to.first+lo:][:hi-lo])
		case f.Domain == rule.OfRows:
			x.sumRows(f.Kind, t, terms, left, x.sums[:hi-lo])
			fillEach(as[F](t.planes[f.Plane])[lo:hi], f, x.sums[:hi-lo], t.columns)
		default:
			if t.atOnce() {
				n := (hi - lo) / t.rowsEach
				x.sumColumns(f.Kind, t, &t.shape.sumColumns, terms, t.rowsEach, n, left, t.columns, x.sums)
				fillEach(as[F](t.planes[f.Plane])[t.firstColumn(lo):][:n*t.columns], f, x.sums[:n*t.columns], t.rowsEach)
				continue
			}
			sums := t.columnsIn(columns)
			sums.at(t, lo)
			lines := sums.all[(column*sums.blocks+sums.block)*sums.stride:]
			n, rest := (hi-lo)/kernels.ColumnRows, (hi-lo)%kernels.ColumnRows
			x.sumColumns(f.Kind, t, &t.shape.sumColumns, terms, kernels.ColumnRows, n, left, sums.stride, lines)
			if whole := n * kernels.ColumnRows; rest > 0 {
				x.sumColumns(f.Kind, t, &t.shape.sumRest, terms[whole*t.columns:], rest, 1, left-whole, sums.stride, lines[n*sums.stride:])
			}
			column++
		}
	}
}

// spreadRows gives each element its row's number, and returns where the first one's is: in to, or in from, if each element has its own there.
func (s *narrowScratch[F]) spreadRows(to, from []F, t *tensor, lo, hi int) *F {
	if t.columns == 1 {
		return &from[lo]
	}
	s.run(t.shape.spreadRows, &from[lo], unsafe.Pointer(&to[0]), hi-lo)
	return &to[0]
}

// spreadColumns is spreadRows with its column's.
func (s *narrowScratch[F]) spreadColumns(to, from []F, t *tensor, lo, hi int) *F {
	from = from[t.firstColumn(lo):]
	switch n := (hi - lo) * t.columns; {
	case t.rowsEach == 1:
		return &from[0]
	case !t.atOnce():
		for done := copy(to, from[:t.columns]); done < n; {
			done += copy(to[done:n], to[:done])
		}
	default:
		if hi == t.rows { // behind its columns there is nothing
			copy(s.columns, from)
			from = s.columns
		}
		s.run(t.shape.spreadColumns, &from[0], unsafe.Pointer(&to[0]), (hi-lo)/t.rowsEach)
	}
	return &to[0]
}

// which is the index of the loop that adds up what a fill does.
func which(kind rule.Fill) int {
	if kind == rule.FillSquares {
		return 1
	}
	return 0
}

// sumRows is kernels.FillTile of each row. Behind the first so many there are terms.
func (s *narrowScratch[F]) sumRows(kind rule.Fill, t *tensor, terms []F, rows int, to []float64) {
	if kind == rule.FillMax {
		rows = 0
	}
	s.run(t.shape.sumRows[which(kind)], &terms[0], unsafe.Pointer(&to[0]), rows)
	for i := rows; i < len(to); i++ {
		to[i] = kernels.FillTile(kind, terms[i*t.columns:][:t.columns])
	}
}

// addRows is kernels.FillTree's first level: to lanes it adds what rows from lo on have, and leaves in to what so many as are a tile come to.
func addRows(kind rule.Fill, lanes *[kernels.NormLanes]float64, sums []float64, t *tensor, lo int, to []float64) {
	for len(sums) > 0 {
		if lo%kernels.NormTile == 0 {
			for i := range lanes {
				lanes[i] = kernels.EmptyFill(kind)
			}
		}
		first := lo % kernels.NormLanes
		n := min(len(sums), kernels.NormLanes-first)
		kernels.JoinEach(kind, lanes[first:], sums[:n])
		if lo, sums = lo+n, sums[n:]; lo%kernels.NormTile == 0 || lo == t.rows {
			to[(lo-1)/kernels.NormTile] = kernels.FillTree(kind, lanes[:])
		}
	}
}

// sumColumns adds up the columns of n matrices, or blocks, of so many rows. Behind the first left rows there are terms.
func (s *narrowScratch[F]) sumColumns(kind rule.Fill, t *tensor, code *[2]*loop, terms []F, rows, n, left, stride int, to []float64) {
	whole := min(n, max(left, 0)/rows)
	if kind == rule.FillMax {
		whole = 0
	}
	if whole > 0 {
		s.run(code[which(kind)], &terms[0], unsafe.Pointer(&to[0]), whole)
	}
	for i := whole; i < n; i++ {
		sums := to[i*stride:][:t.columns]
		for k := range sums {
			sums[k] = kernels.EmptyFill(kind)
		}
		for row := i * rows; row < (i+1)*rows; row++ {
			kernels.FillColumns(kind, sums, terms[row*t.columns:][:t.columns])
		}
	}
}

// fold is kernels.FoldRows for as many of the first matrices as it can, whose number it returns. From has all rows that follow.
func (s *narrowScratch[F]) fold(f kernels.Fold, t *tensor, from, to []F) (n int) {
	code := t.shape.fold[which(f.Kind)]
	if code == nil || f.Kind == rule.FillMax {
		return 0
	}
	most := min(len(to)/t.columns, (len(from)-emit.Past)/t.rowsEach)
	for k := 0; n < most; n += k {
		sums := s.sums[:min(most-n, narrowLen)]
		k = len(sums)
		s.run(code, &from[n*t.rowsEach], unsafe.Pointer(&sums[0]), k)
		rows := 1.0
		if f.Kind == rule.FillMean {
			rows = float64(t.rowsEach)
		}
		for i, x := range sums {
			y := F(x / rows)
			columns := to[(n+i)*t.columns:][:t.columns]
			for j := range columns {
				columns[j] = y
			}
		}
	}
	return n
}
