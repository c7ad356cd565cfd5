package ptx

import (
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// fillLanes is how many lanes of each fill's tree a thread of a pass keeps: those of elements 4·lane to 4·lane+3 of every 128.
const fillLanes = kernels.NormLanes / 32

// tiles goes through the chunks, a warp each, which is a tile of its tensor, and folds the terms of their elements. The folds of chunk k go
// to word k of %sums, those of the next fill behind those of all chunks. A thread's elements are whole vectors if all planes' first elements lie
// where one can be.
func (w *passWriter) tiles() {
	w.warps()
	w.op("shl.b64 %s, %%lane, %d", w.reg("b64", "first_lane"), shift(fillLanes))
	w.op("setp.ne.u64 %s, %%lane, 0", w.reg("pred", "is_other"))
	w.comment("one tile after the other, a grid apart")
	w.label("NEXT_TILE")
	w.op("setp.ge.u64 %s, %%tile, %%chunk_count", w.reg("pred", "done"))
	w.op("@%%done bra END")
	entry := w.chunk("tile")
	w.comment("the tile's address in each slot; vectors if all are a multiple of one's bytes")
	w.firstByte()
	w.op("mov.u64 %s, 0", w.reg("b64", "apart"))
	for _, p := range w.planes {
		x := w.reg("b64", "beside")
		w.op("and.b64 %s, %s, %d", x, w.address(p, entry), w.lanes*p.size-1)
		w.op("or.b64 %%apart, %%apart, %s", x)
	}
	w.op("setp.ne.u64 %s, %%apart, 0", w.reg("pred", "is_apart"))
	w.uniforms(entry)
	folds := w.folds()
	for _, f := range folds {
		f.begin()
	}
	w.op("mov.u64 %s, %%first_lane", w.reg("b64", "i"))
	w.op("@%%is_apart bra NEXT_ROW")

	w.comment("rows of %d elements, while there are so many for the thread", kernels.NormLanes)
	w.along(folds, fillLanes, "%count", "end", "NEXT_ROW", "ROWS_DONE")
	w.op("bar.warp.sync 0xffffffff")
	w.op("mad.lo.u64 %s, %%tile, %d, %%sums", w.reg("b64", "to"), word)
	for i, f := range folds {
		f.halve()
		if i > 0 {
			w.op("mad.lo.u64 %%to, %%chunk_count, %d, %%to", word)
		}
		w.op("@!%%is_other st.global.f64 [%%to], %s", f.lane(0))
	}
	w.op("add.u64 %%tile, %%tile, %%stride")
	w.op("bra NEXT_TILE")
}

// along goes through elements from %i on up to a limit: a thread has so many side by side, and goes on behind those of the warp's 32. They are whole
// vectors while all of a thread's are below the limit, which the register behind is compared with, and from the label rest on one by one. Then comes the
// label done.
func (w *passWriter) along(folds []*fold, each int, limit, behind, rest, done string) {
	w.label("NEXT_VECTORS")
	w.op("add.u64 %s, %%i, %d", w.reg("b64", behind), each)
	w.op("setp.lt.u64 %%done, %s, %%%s", limit, behind)
	w.op("@%%done bra %s", rest)
	for l := 0; l < each; l += w.lanes {
		w.op("add.u64 %s, %%i, %d", w.reg("b64", "element"), l)
		w.fill(folds, l, w.elements(w.lanes))
	}
	w.op("add.u64 %%i, %%i, %d", 32*each)
	w.op("bra NEXT_VECTORS")

	w.comment("elements one by one")
	w.label(rest)
	for l := range each {
		w.op("add.u64 %%element, %%i, %d", l)
		w.op("setp.ge.u64 %%done, %%element, %s", limit)
		w.op("@%%done bra %s", done)
		w.fill(folds, l, w.elements(1))
	}
	w.op("add.u64 %%i, %%i, %d", 32*each)
	w.op("bra %s", rest)

	w.label(done)
}

// folds are those of the fills.
func (w *passWriter) folds() (all []*fold) {
	for _, fill := range w.fills {
		name := func(l int) string { return named(fmt.Sprintf("fill_%d", l), w.f.Vars[fill.Var].Name) }
		all = append(all, &fold{w.writer, 32, fill.Kind == rule.FillMax, name})
	}
	return all
}

// fill takes the terms of elements into lanes from a first one on.
func (w *passWriter) fill(folds []*fold, first int, elements []*graph) {
	for i, fill := range w.fills {
		name := w.f.Vars[fill.Var].Name
		for k, g := range elements {
			x := g.at[w.f.Stores[slices.IndexFunc(w.f.Stores, func(s ir.Store) bool { return s.Var == fill.Var })].Value]
			if w.f.Width == 32 {
				wide := w.reg("f64", named(fmt.Sprintf("wide_%d", k), name))
				w.op("cvt.f64.f32 %s, %s", wide, x)
				x = wide
			}
			if fill.Kind == rule.FillSquares {
				square := w.reg("f64", named(fmt.Sprintf("square_%d", k), name))
				w.op("mul.rn.f64 %s, %s, %s", square, x, x)
				x = square
			}
			folds[i].take(first+k, x)
		}
	}
}
