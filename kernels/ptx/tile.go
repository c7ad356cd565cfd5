package ptx

import (
	"fmt"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// rowsAtOnce is how many rows of kernels.NormLanes elements a thread has under way: 64 bytes, 128 of float64.
const rowsAtOnce = 4

// A tileWriter folds one tile.
type tileWriter struct {
	fold
	element
	terms *ir.Func              // as kernels.Stage says; nil where elements are sums, which are added as they are, or
	widen func(x string) string // what makes a term of an element
}

func newTileWriter(w *writer, terms *ir.Func, threads int) *tileWriter {
	t := &tileWriter{fold{writer: w, threads: threads, name: func(l int) string { return fmt.Sprintf("sum_%d", l) }}, elementOf(ir.Float, 64), terms, nil}
	if terms != nil {
		t.element = elementOf(terms.Vars[0].Type, terms.Width)
	}
	return t
}

// tile folds %count elements at %from, or their terms, in a warp, or in each half of one: each thread keeps as many of the 128 lanes of
// the tree, side by side, as 16 bytes hold elements, or four. Those of four are elements 4·lane to 4·lane+3 of every 128. What
// terms take of scalars is in %factor. Elements are loaded 16 bytes at a time if %from is a multiple of 16, as it always is where aligned is
// set.
func (t *tileWriter) tile(aligned bool) {
	lanes := t.lanes()
	t.begin()
	t.op("shl.b64 %s, %%lane, %d", t.reg("b64", "i"), shift(lanes))
	t.op("mad.lo.u64 %s, %%i, %d, %%from", t.reg("b64", "address"), t.size)
	t.reg("pred", "done")
	if !aligned {
		t.op("and.b64 %s, %%from, 15", t.reg("b64", "apart"))
		t.op("setp.ne.u64 %%done, %%apart, 0")
		t.op("@%%done bra NEXT_ROW")
	}
	t.loop("NEXT_ROWS", "NEXT_ROW", rowsAtOnce, true)
	t.loop("NEXT_ROW", "REST", 1, false)
	t.label("REST")
	t.comment("what is left, less than the thread's lanes")
	for l := range lanes - 1 {
		k := "%i"
		if l > 0 {
			k = t.reg("b64", "k")
			t.op("add.u64 %s, %%i, %d", k, l)
		}
		t.op("setp.ge.u64 %%done, %s, %%count", k)
		t.op("@%%done bra ROWS_DONE")
		t.load(0, l, false)
		t.addTerm(0, l)
	}
	t.label("ROWS_DONE")
	t.op("bar.warp.sync 0xffffffff")
	t.halve()
}

// loop takes whole rows, some at once, while there are so many for the thread, and goes to a label then.
func (t *tileWriter) loop(label, then string, rows int, vectors bool) {
	end := t.reg("b64", fmt.Sprintf("end_%d", rows))
	t.label(label)
	t.op("add.u64 %s, %%i, %d", end, (rows-1)*kernels.NormLanes+t.lanes())
	t.op("setp.lt.u64 %%done, %%count, %s", end)
	t.op("@%%done bra %s", then)
	for row := range rows {
		for l := 0; l < t.lanes(); l++ {
			t.load(row, l, vectors)
			if vectors {
				l += 16/t.size - 1
			}
		}
	}
	for row := range rows {
		for l := range t.lanes() {
			t.addTerm(row, l)
		}
	}
	t.op("add.u64 %%i, %%i, %d", rows*kernels.NormLanes)
	t.op("add.u64 %%address, %%address, %d", rows*kernels.NormLanes*t.size)
	t.op("bra %s", label)
}

// load loads lane l of the row that is so far from %address, or the 16 bytes from there on.
func (t *tileWriter) load(row, l int, vector bool) {
	n := 1
	if vector {
		n = 16 / t.size
	}
	a := &access{t.writer, t.element, n, fmt.Sprintf("%%address+%d", (row*kernels.NormLanes+l)*t.size),
		func(what string, i int) string { return fmt.Sprintf("%s_%d_%d", what, row, l+i) }}
	a.load()
	a.unpack()
}

// addTerm takes what has been loaded, or its term, into a lane.
func (t *tileWriter) addTerm(row, l int) {
	x := t.reg(t.typ, fmt.Sprintf("in_%d_%d", row, l))
	if t.terms != nil {
		g := t.graph(t.terms)
		for _, v := range t.terms.Loads() {
			if t.terms.Vars[v].Bank == rule.ScalarsBank {
				g.set(v, "%factor")
			} else {
				g.set(v, x)
			}
		}
		g.run(func(ir.Value) bool { return true })
		x = g.at[t.terms.Stores[0].Value]
	}
	if t.widen != nil {
		x = t.widen(x)
	}
	t.take(l, x)
}
