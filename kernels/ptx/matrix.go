package ptx

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// MatrixStrip is how many columns side by side a chunk of Pass.Columns has at most: as many as a warp has, by fillLanes a thread.
const MatrixStrip = kernels.NormLanes

// MatrixShare is a power of two, by its exponent: how many of a warp's threads share a row of so many columns, or a block of such rows. The warp's other
// threads have other rows, or blocks.
func MatrixShare(columns int) (exponent int) {
	for exponent < 5 && fillLanes<<exponent < columns {
		exponent++
	}
	return exponent
}

// keeping is a graph with those of its stores that a function keeps, and with what these need.
func keeping(f *ir.Func, keep func(s ir.Store) bool) *ir.Func {
	b := ir.NewBuilder(f.Name, f.Width, f.Vars)
	entry := make([]ir.Value, len(f.Vars))
	for v := range entry {
		entry[v] = b.Var(v)
	}
	final := b.Inline(f, entry)
	for _, s := range f.Stores {
		if !keep(s) {
			final[s.Var] = entry[s.Var]
		}
	}
	return b.Func(final)
}

// byRows is what a pass over the elements of a matrix does row by row, and byColumns what it fills columns with: two kernels, as a thread goes along a row
// for the one and down a column for the other. Without a store, or without fills, there is no such kernel.
func byRows(q *kernels.Pass) (f *ir.Func, fills []kernels.Fill) {
	f = keeping(q.Graph, func(s ir.Store) bool { return q.Graph.Vars[s.Var].Bank != rule.ColumnBank })
	return f, slices.DeleteFunc(slices.Clone(q.Fills), func(f kernels.Fill) bool { return f.Domain == rule.OfColumns })
}

func byColumns(q *kernels.Pass) (f *ir.Func, fills []kernels.Fill) {
	f = keeping(q.Graph, func(s ir.Store) bool { return q.Graph.Vars[s.Var].Bank == rule.ColumnBank })
	return f, slices.DeleteFunc(slices.Clone(q.Fills), func(f kernels.Fill) bool { return f.Domain != rule.OfColumns })
}

// newMatrixPass writes a kernel of a pass over the elements of a matrix. Planes of columns are loaded as those of elements are.
func newMatrixPass(f *ir.Func, l layout, h Hints, fills []kernels.Fill) *passWriter {
	w := newPass(f, l, h, fills...)
	for _, v := range f.Loads() {
		if field := f.Vars[v]; field.Bank == rule.ColumnBank {
			p := &plane{elementOf(field.Type, f.Width), v, field.Index, field.Name, true, false}
			w.planes = append(w.planes, p)
			w.lanes = min(w.lanes, 16/p.size)
		}
	}
	if len(fills) > 3 {
		w.perProcessor = 1 // with 2, ptxas spills: a thread keeps 8 registers of each fill
	} else if w.perProcessor == 0 {
		w.perProcessor = 2 // by itself, ptxas spills on sm_90
	}
	return w
}

// ofColumns says whether a plane is of columns.
func (w *passWriter) ofColumns(p *plane) bool { return w.f.Vars[p.field].Bank == rule.ColumnBank }

// readsColumns says whether the pass loads numbers of columns.
func (w *passWriter) readsColumns() bool { return slices.ContainsFunc(w.planes, w.ofColumns) }

// rowFields are the fields of the graph that a row has.
func (w *passWriter) rowFields() (fields []int) {
	for _, v := range w.f.Loads() {
		if w.f.Vars[v].Bank == rule.RowBank {
			fields = append(fields, v)
		}
	}
	return fields
}

// warps begins a loop over chunks, a warp each: %tile is the chunk's number.
func (w *passWriter) warps() {
	tileOf(w.writer, 32)
	w.op("mov.u32 %s, %%nctaid.x", w.reg("b32", "nctaid32"))
	w.op("cvt.u64.u32 %s, %%nctaid32", w.reg("b64", "stride"))
	w.op("shl.b64 %%stride, %%stride, %d", shift(NormWarps))
}

// matrixChunk loads what the tables have of a chunk, whose second and third word registers of these names get, and returns the register that has the
// address of the tensor's.
func (w *passWriter) matrixChunk(first, count string) string {
	w.label("NEXT_TILE")
	w.op("setp.ge.u64 %s, %%tile, %%chunk_count", w.reg("pred", "done"))
	w.op("@%%done bra END")
	e := w.reg("b64", "entry")
	w.op("mad.lo.u64 %s, %%tile, %d, %%chunks", e, MatrixWords*word)
	for i, r := range []string{"tensor", first, count, "first_column", "count", "place", "places", "share", "inverse"} {
		if (len(w.fills) > 0 || r != "place" && r != "places") && (count == "blocks" || w.readsColumns() || r != "inverse") {
			w.op("ld.global.u64 %s, [%s+%d]", w.reg("b64", r), e, i*word)
		}
	}
	w.op("mad.lo.u64 %s, %%tensor, %d, %%tensors", e, w.words()*word)
	w.op("ld.global.u64 %s, [%s]", w.reg("b64", "group"), e)
	w.op("ld.global.u64 %s, [%s+%d]", w.reg("b64", "columns"), e, w.columnsAt()*word)
	if count == "blocks" {
		w.op("ld.global.u64 %s, [%s+%d]", w.reg("b64", "rows_each"), e, (w.columnsAt()+1)*word)
	}
	if w.indexed {
		w.op("ld.global.u64 %s, [%s+%d]", w.reg("b64", "index"), e, w.indexAt()*word)
	}
	w.comment("the threads that share a row: which of these the thread is, and of which of the warp's rows")
	w.op("cvt.u32.u64 %s, %%share", w.reg("b32", "share32"))
	w.op("shr.u64 %s, %%lane, %%share32", w.reg("b64", "part"))
	w.op("shl.b64 %s, %%part, %%share32", w.reg("b64", "own"))
	w.op("sub.u64 %%own, %%lane, %%own")
	w.comment("the tensor's address in each slot")
	for _, p := range w.planes {
		w.base(p.own("plane"), p.index, e)
	}
	for _, v := range w.rowFields() {
		w.base(named("plane", w.f.Vars[v].Name), w.f.Vars[v].Index, e)
	}
	w.uniforms(e)
	return e
}

// base loads the address of one of a tensor's planes.
func (w *passWriter) base(name string, plane int, entry string) {
	r := w.reg("b64", name)
	w.op("ld.global.u64 %s, [%s+%d]", r, entry, (1+plane)*word)
	w.op("cvta.to.global.u64 %s, %s", r, r)
}

// place computes the address of a row's elements from %first_column on in each plane, which are %first elements behind the tensor's first, or of
// columns %first_own_column behind that of the first matrix, and in %apart what is not 0 where no vector can be there.
func (w *passWriter) place() {
	w.op("mov.u64 %s, 0", w.reg("b64", "apart"))
	for _, p := range w.planes {
		at, first := w.reg("b64", p.own("at")), "first"
		if w.ofColumns(p) {
			first = "first_own_column"
		}
		w.op("mad.lo.u64 %s, %%%s, %d, %%%s", at, first, p.size, p.own("plane"))
		w.op("and.b64 %s, %s, %d", w.reg("b64", "beside"), at, w.lanes*p.size-1)
		w.op("or.b64 %%apart, %%apart, %%beside")
	}
}

// matrixOf computes of which matrix a row or a block is, and how far the place of %first_column is from that of the first matrix's first column.
func (w *passWriter) matrixOf(number string) {
	w.comment("its matrix, by a product: the driver's compiler makes a call of a division")
	w.op("add.u64 %s, %%%s, %%%s", w.reg("b64", "matrix"), number, number)
	w.op("mul.hi.u64 %%matrix, %%matrix, %%inverse")
	w.op("mad.lo.u64 %s, %%matrix, %%columns, %%first_column", w.reg("b64", "first_own_column"))
}

// MatrixInverse is the word of a chunk with which a kernel divides a number below n by each, and whether it can. If there is one matrix, all are of that.
func MatrixInverse(n, each uint64) (inverse uint64, ok bool) {
	if n <= each {
		return 0, true
	}
	hi, lo := bits.Mul64(n, each)
	return (1<<63-1)/each + 1, hi == 0 && lo < 1<<63
}

// row loads the numbers of the row in a register, and computes what depends on nothing else of elements.
func (w *passWriter) row(number string) {
	size := w.f.Width / 8
	for _, v := range w.rowFields() {
		name := w.f.Vars[v].Name
		at, x := w.reg("b64", named("at", name)), w.reg(w.g.typ, named("in", name))
		w.op("mad.lo.u64 %s, %%%s, %d, %%%s", at, number, size, named("plane", name))
		w.op("ld.global.%s %s, [%s]", w.g.typ, x, at)
		w.g.set(v, x)
	}
	varying := w.f.Varying(rule.ElemBank, rule.ColumnBank)
	w.g.run(func(v ir.Value) bool { return !varying[v] })
}

// rows goes through the chunks, each some rows of a tensor, of a tile each, and folds the terms of each tile's elements. The folds of a tensor's first
// tile go to word %place of %sums, those of the next row's are %places words further on, and those of the next fill %place_count.
func (w *passWriter) rows() {
	w.warps()
	w.matrixChunk("first_row", "rows")
	each := max(w.lanes, fillLanes) // elements of a thread, side by side
	w.op("mov.u64 %s, 32", w.reg("b64", "at_once"))
	w.op("shr.u64 %%at_once, %%at_once, %%share32")
	w.op("mul.lo.u64 %s, %%own, %d", w.reg("b64", "own_first"), each)
	w.comment("rows, as many at a time as the warp has")
	w.op("mov.u64 %s, 0", w.reg("b64", "next"))
	w.label("NEXT_ROWS")
	w.op("setp.ge.u64 %%done, %%next, %%rows")
	w.op("@%%done bra ROWS_DONE")
	w.comment("threads without a row stay, as others of their warp may have one: theirs is the last one, of which they take no elements")
	w.op("add.u64 %s, %%next, %%part", w.reg("b64", "k"))
	w.op("setp.ge.u64 %s, %%k, %%rows", w.reg("pred", "none"))
	w.op("sub.u64 %s, %%rows, 1", w.reg("b64", "last"))
	w.op("min.u64 %%k, %%k, %%last")
	w.op("selp.b64 %s, 0, %%count, %%none", w.reg("b64", "end"))
	w.op("add.u64 %s, %%first_row, %%k", w.reg("b64", "row"))
	w.op("mad.lo.u64 %s, %%row, %%columns, %%first_column", w.reg("b64", "first"))
	if w.readsColumns() {
		w.matrixOf("row")
	}
	w.place()
	w.op("setp.ne.u64 %s, %%apart, 0", w.reg("pred", "is_apart"))
	if w.indexed {
		w.op("add.u64 %s, %%index, %%first", w.reg("b64", "origin"))
	}
	w.row("row")
	folds := w.folds()
	for _, f := range folds {
		f.begin()
	}
	w.op("mov.u64 %s, %%own_first", w.reg("b64", "i"))
	w.op("@%%is_apart bra NEXT_ELEMENTS")

	w.comment("whole vectors, while there are so many for the thread")
	w.along(folds, each, "%end", "behind", "NEXT_ELEMENTS", "ROW_DONE")
	if len(folds) > 0 {
		w.finishRow(folds)
	}
	w.op("add.u64 %%next, %%next, %%at_once")
	w.op("bra NEXT_ROWS")
	w.label("ROWS_DONE")
	w.op("add.u64 %%tile, %%tile, %%stride")
	w.op("bra NEXT_TILE")
}

// finishRow halves the lanes of the threads that share a row, and stores its folds.
func (w *passWriter) finishRow(folds []*fold) {
	w.op("bar.warp.sync 0xffffffff")
	w.comment("lanes %d to %d apart are 16 to 1 threads apart: of no more than share a row", kernels.NormLanes/2, fillLanes)
	for exponent := 4; exponent >= 0; exponent-- {
		w.op("setp.lt.u64 %%done, %%share, %d", exponent+1)
		w.op("@%%done bra HALVED_%d", exponent)
		for _, f := range folds {
			f.join(1 << exponent)
		}
		w.label(fmt.Sprintf("HALVED_%d", exponent))
	}
	w.op("setp.ne.u64 %s, %%own, 0", w.reg("pred", "is_other"))
	w.op("or.pred %%is_other, %%is_other, %%none")
	w.op("mad.lo.u64 %s, %%k, %%places, %%place", w.reg("b64", "to"))
	w.op("mad.lo.u64 %%to, %%to, %d, %%sums", word)
	for i, f := range folds {
		f.joinOwn()
		if i > 0 {
			w.op("mad.lo.u64 %%to, %%place_count, %d, %%to", word)
		}
		w.op("@!%%is_other st.global.f64 [%%to], %s", f.lane(0))
	}
}

// blocks goes through the chunks, each some blocks of kernels.ColumnRows rows of a strip of columns, of the same matrix or of several. A thread goes down
// some columns of a block, and adds up the terms. The sum of the tensor's first column and first block goes to word %place of %sums, that of the next
// block of a matrix behind it, that of the next column is %places words further on, and those of the next fill %place_count.
func (w *passWriter) blocks() {
	w.warps()
	w.matrixChunk("first_block", "blocks")
	w.comment("the thread's block: of which matrix, and which of its blocks")
	w.op("setp.ge.u64 %%done, %%part, %%blocks")
	w.op("@%%done bra COLUMNS_DONE")
	w.op("add.u64 %s, %%first_block, %%part", w.reg("b64", "block"))
	w.matrixOf("block")
	w.op("mul.lo.u64 %s, %%matrix, %%places", w.reg("b64", "before"))
	w.op("sub.u64 %%block, %%block, %%before")
	w.op("mad.lo.u64 %%place, %%first_own_column, %%places, %%place")
	w.op("add.u64 %%place, %%place, %%block")
	w.op("mul.lo.u64 %%before, %%block, %d", kernels.ColumnRows)
	w.op("sub.u64 %s, %%rows_each, %%before", w.reg("b64", "rows"))
	w.op("min.u64 %%rows, %%rows, %d", kernels.ColumnRows)
	w.op("mad.lo.u64 %s, %%matrix, %%rows_each, %%before", w.reg("b64", "first_row"))
	w.op("mad.lo.u64 %s, %%first_row, %%columns, %%first_column", w.reg("b64", "first"))
	w.place()
	w.comment("the next rows lie as this one does where rows are whole vectors")
	w.op("and.b64 %s, %%columns, %d", w.reg("b64", "beside"), w.lanes-1)
	w.op("or.b64 %%apart, %%apart, %%beside")
	w.op("setp.ne.u64 %s, %%apart, 0", w.reg("pred", "is_apart"))
	w.op("@%%is_apart bra APART")
	w.strip(w.lanes)
	w.label("APART")
	w.strip(1)
	w.label("COLUMNS_DONE")
	w.op("add.u64 %%tile, %%tile, %%stride")
	w.op("bra NEXT_TILE")
}

// downAtOnce is how many rows of a block a thread has under way.
const downAtOnce = 4

// strip goes through the thread's columns of a strip, n side by side.
func (w *passWriter) strip(n int) {
	label := func(what string) string { return fmt.Sprintf("%s_%d", what, n) }
	w.op("mul.lo.u64 %s, %%own, %d", w.reg("b64", "i"), n)
	w.op("mov.u64 %s, %d", w.reg("b64", "by"), n)
	w.op("shl.b64 %%by, %%by, %%share32")
	w.label(label("NEXT_COLUMNS"))
	w.op("setp.ge.u64 %%done, %%i, %%count")
	w.op("@%%done bra COLUMNS_DONE")
	var all []planeAccess
	for _, p := range w.planes {
		a := w.access(p, n)
		all = append(all, planeAccess{p, a})
		w.op("mad.lo.u64 %s, %%i, %d, %%%s", a.address, p.size, p.own("at"))
		if w.ofColumns(p) {
			a.load()
		}
	}
	folds := w.folds()
	for _, f := range folds {
		for l := range n {
			f.none(l)
		}
	}
	w.op("mov.u64 %s, %%first_row", w.reg("b64", "row"))
	w.op("add.u64 %s, %%first_row, %%rows", w.reg("b64", "end"))
	w.label(label("NEXT_ROWS"))
	w.op("add.u64 %s, %%row, %d", w.reg("b64", "behind"), downAtOnce)
	w.op("setp.lt.u64 %%done, %%end, %%behind")
	w.op("@%%done bra %s", label("NEXT_ROW"))
	for range downAtOnce {
		w.down(folds, all, n)
	}
	w.op("bra %s", label("NEXT_ROWS"))
	w.label(label("NEXT_ROW"))
	w.op("setp.ge.u64 %%done, %%row, %%end")
	w.op("@%%done bra %s", label("BLOCK_DONE"))
	w.down(folds, all, n)
	w.op("bra %s", label("NEXT_ROW"))
	w.label(label("BLOCK_DONE"))
	w.op("mad.lo.u64 %s, %%i, %%places, %%place", w.reg("b64", "to"))
	w.op("mad.lo.u64 %%to, %%to, %d, %%sums", word)
	for i, f := range folds {
		if i > 0 {
			w.op("mad.lo.u64 %%to, %%place_count, %d, %%to", word)
		}
		w.op("st.global.f64 [%%to], %s", f.lane(0))
		for l := 1; l < n; l++ {
			from := "to"
			if l > 1 {
				from = "to_next"
			}
			w.op("mad.lo.u64 %s, %%places, %d, %%%s", w.reg("b64", "to_next"), word, from)
			w.op("st.global.f64 [%%to_next], %s", f.lane(l))
		}
	}
	w.op("add.u64 %%i, %%i, %%by")
	w.op("bra %s", label("NEXT_COLUMNS"))
}

// down takes the terms of a row's elements, n side by side, and goes on to the next row.
func (w *passWriter) down(folds []*fold, all []planeAccess, n int) {
	uniform := w.g
	w.g = uniform.copy("")
	w.row("row")
	for _, a := range all {
		if !w.ofColumns(a.plane) {
			a.load()
			w.op("mad.lo.u64 %s, %%columns, %d, %s", a.address, a.plane.size, a.address)
		}
		a.unpack()
	}
	var lanes []*graph
	for lane := range n {
		lanes = append(lanes, w.lane(lane, all))
	}
	w.fill(folds, 0, lanes)
	w.g = uniform
	w.op("add.u64 %%row, %%row, 1")
}

// linesParams are the parameters of Module.Lines, which makes of float64, what rows or columns are filled with, their numbers: a block for each of the
// table's entries, of LineWords.
var linesParams = []string{"u64 lines", "u64 control"}

func lines(name string, size int) string {
	w := &writer{}
	w.params(linesParams...)
	skipped(w, linesParams)
	w.op("cvta.to.global.u64 %%lines, %%lines")
	for _, r := range []string{"tid", "ntid", "ctaid"} {
		t := w.reg("b32", r+"32")
		w.op("mov.u32 %s, %%%s.x", t, r)
		w.op("cvt.u64.u32 %s, %s", w.reg("b64", r+"64"), t)
	}
	w.op("mad.lo.u64 %%lines, %%ctaid64, %d, %%lines", LineWords*word)
	for i, r := range []string{"from", "count", "to"} {
		w.op("ld.global.u64 %s, [%%lines+%d]", w.reg("b64", r), i*word)
	}
	w.op("ld.global.f64 %s, [%%lines+%d]", w.reg("f64", "terms"), (LineWords-1)*word)
	w.op("cvta.to.global.u64 %%from, %%from")
	w.op("cvta.to.global.u64 %%to, %%to")
	w.op("mov.u64 %s, %%tid64", w.reg("b64", "i"))
	w.label("NEXT_LINE")
	w.op("setp.ge.u64 %s, %%i, %%count", w.reg("pred", "done"))
	w.op("@%%done bra END")
	address, x := w.reg("b64", "address"), w.reg("f64", "sum")
	w.op("mad.lo.u64 %s, %%i, %d, %%from", address, word)
	w.op("ld.global.f64 %s, [%s]", x, address)
	w.op("div.rn.f64 %s, %s, %%terms", x, x)
	w.op("mad.lo.u64 %s, %%i, %d, %%to", address, size)
	w.op("st.global.f%d [%s], %s", 8*size, address, w.rounded(x, 0, size))
	w.op("add.u64 %%i, %%i, %%ntid64")
	w.op("bra NEXT_LINE")
	w.label("END")
	w.op("ret")
	return w.entry(name, linesParams...)
}

// rowsParams are the parameters of Module.Rows: it folds numbers of rows, a block for each of the table's entries, of RowsWords.
var rowsParams = []string{"u64 entries", "u64 control"}

// rowsFold is kernels.FoldRows, of numbers of so many bytes: a warp has a matrix, and then the one as many further on as a block has warps.
func rowsFold(name string, kind rule.Fill, size int) string {
	w := &writer{}
	w.params(rowsParams...)
	skipped(w, rowsParams)
	w.op("cvta.to.global.u64 %%entries, %%entries")
	tileOf(w, 32)
	w.op("cvt.u64.u32 %s, %%ctaid32", w.reg("b64", "ctaid64"))
	w.op("mad.lo.u64 %%entries, %%ctaid64, %d, %%entries", RowsWords*word)
	for i, r := range []string{"first_from", "count", "first_to", "columns", "matrices"} {
		w.op("ld.global.u64 %s, [%%entries+%d]", w.reg("b64", r), i*word)
	}
	w.op("ld.global.f64 %s, [%%entries+%d]", w.reg("f64", "terms"), (RowsWords-1)*word)
	w.op("cvta.to.global.u64 %%first_from, %%first_from")
	w.op("cvta.to.global.u64 %%first_to, %%first_to")
	w.op("and.b64 %%tile, %%tile, %d", NormWarps-1)
	w.label("NEXT_MATRIX")
	w.op("setp.ge.u64 %s, %%tile, %%matrices", w.reg("pred", "done"))
	w.op("@%%done bra END")
	w.op("mul.lo.u64 %s, %%tile, %%count", w.reg("b64", "before"))
	w.op("mad.lo.u64 %s, %%before, %d, %%first_from", w.reg("b64", "from"), size)
	t := newTileWriter(w, nil, 32)
	t.element, t.max = elementOf(ir.Float, 8*size), kind == rule.FillMax
	t.widen = func(x string) string {
		if size < 8 {
			wide := w.reg("f64", "wide")
			w.op("cvt.f64.f32 %s, %s", wide, x)
			x = wide
		}
		if kind == rule.FillSquares {
			square := w.reg("f64", "square")
			w.op("mul.rn.f64 %s, %s, %s", square, x, x)
			x = square
		}
		return x
	}
	t.tile(false)
	w.op("mov.b64 {%s, %s}, %s", w.reg("b32", "lo"), w.reg("b32", "hi"), t.lane(0))
	for _, half := range []string{"lo", "hi"} {
		w.op("shfl.sync.idx.b32 %%%s, %%%s, 0, 31, 0xffffffff", half, half)
	}
	w.op("mov.b64 %s, {%%lo, %%hi}", w.reg("f64", "folded"))
	w.op("div.rn.f64 %%folded, %%folded, %%terms")
	x := w.rounded("%folded", 0, size)
	w.op("mul.lo.u64 %%before, %%tile, %%columns")
	w.op("mad.lo.u64 %s, %%before, %d, %%first_to", w.reg("b64", "to"), size)
	w.op("mov.u64 %%i, %%lane")
	w.label("NEXT_COLUMN")
	w.op("setp.ge.u64 %%done, %%i, %%columns")
	w.op("@%%done bra COLUMNS_DONE")
	w.op("mad.lo.u64 %%address, %%i, %d, %%to", size)
	w.op("st.global.f%d [%%address], %s", 8*size, x)
	w.op("add.u64 %%i, %%i, 32")
	w.op("bra NEXT_COLUMN")
	w.label("COLUMNS_DONE")
	w.op("bar.warp.sync 0xffffffff")
	w.op("add.u64 %%tile, %%tile, %d", NormWarps)
	w.op("bra NEXT_MATRIX")
	w.label("END")
	w.op("ret")
	return w.entry(name, rowsParams...)
}
