package ptx

import (
	"fmt"
	"math"
	"slices"

	"github.com/fusestep/fusestep/kernels"
)

// The norm's kernels, by kernels.SumSquares, SumTree and NormRoot: NormSquares sums the squares of each tile, one warp a
// tile; NormSums adds up tiles of sums, and is launched until one is left; NormRoot takes its root, and says by what elements
// are to be scaled. Where that is not 1, which only float64 can bring about, the kernels for scaled elements do the same once more; where it
// is 1, they return at once.
const (
	NormSquares32 = "norm_squares_f32"
	NormSquares64 = "norm_squares_f64"
	NormSums      = "norm_sums"
	NormRoot      = "norm_root"

	NormScaledSquares32 = "norm_scaled_squares_f32"
	NormScaledSquares64 = "norm_scaled_squares_f64"
	NormScaledSums      = "norm_scaled_sums"
	NormScaledRoot      = "norm_scaled_root"

	// NormWarps is the number of tiles that a block sums.
	NormWarps = Block / 32
	// TileWords: a tile is its address, the number of its elements, and where its sum goes.
	TileWords = 3
)

// NormSquaresParams: the tiles, and the sums, float64. The kernels for scaled elements take the scale's address besides, as their
// last parameter.
var NormSquaresParams = []string{"u64 tiles", "u64 tile_count", "u64 sums"}

// NormSumsParams: count float64 to add up, and where the sums of their tiles go.
var NormSumsParams = []string{"u64 from", "u64 count", "u64 to"}

// NormRootParams: the last sum, or 0 if there is none, where its root goes, and where the scale stands, float64.
var NormRootParams = []string{"u64 sum", "u64 total", "u64 scale"}

// Norm is the text of the norm's kernels.
func Norm() string {
	return "// The gradient norm: written by fusestep.\n" + header +
		squares("f32", NormSquares32, false) + squares("f64", NormSquares64, false) + sums(NormSums, false) + root() +
		squares("f32", NormScaledSquares32, true) + squares("f64", NormScaledSquares64, true) + sums(NormScaledSums, true) + scaledRoot()
}

// scaled begins a kernel for scaled elements: it loads the scale, and returns where that is 1.
func scaled(w *writer) {
	w.op("cvta.to.global.u64 %%scale, %%scale")
	w.op("ld.global.f64 %s, [%%scale]", w.reg("f64", "factor"))
	w.op("setp.eq.f64 %s, %%factor, %s", w.reg("pred", "done"), imm("f64", 1))
	w.op("@%%done bra END")
}

// normParams are the parameters of a kernel, for scaled elements or others.
func normParams(params []string, scale bool) []string {
	if scale {
		return append(slices.Clone(params), "u64 scale")
	}
	return params
}

// warp computes in %tile the number of the thread's warp in the grid, and its lane.
func warp(w *writer) {
	for _, r := range []string{"tid", "ctaid"} {
		w.op("mov.u32 %s, %%%s.x", w.reg("b32", r+"32"), r)
	}
	w.op("and.b32 %s, %%tid32, 31", w.reg("b32", "lane32"))
	w.op("cvt.u64.u32 %s, %%lane32", w.reg("b64", "lane"))
	w.op("shr.u32 %s, %%tid32, 5", w.reg("b32", "warp32"))
	w.op("mad.lo.u32 %%warp32, %%ctaid32, %d, %%warp32", NormWarps)
	w.op("cvt.u64.u32 %s, %%warp32", w.reg("b64", "tile"))
}

func squares(typ, name string, scale bool) string {
	w := &writer{}
	params := normParams(NormSquaresParams, scale)
	w.params(params...)
	if scale {
		scaled(w)
	}
	w.op("cvta.to.global.u64 %%tiles, %%tiles")
	w.op("cvta.to.global.u64 %%sums, %%sums")
	warp(w)
	w.op("setp.ge.u64 %s, %%tile, %%tile_count", w.reg("pred", "done"))
	w.op("@%%done bra END")
	w.op("mad.lo.u64 %%tiles, %%tile, %d, %%tiles", TileWords*word)
	w.op("ld.global.u64 %s, [%%tiles]", w.reg("b64", "from"))
	w.op("cvta.to.global.u64 %%from, %%from")
	w.op("ld.global.u64 %s, [%%tiles+8]", w.reg("b64", "count"))
	w.op("ld.global.u64 %s, [%%tiles+16]", w.reg("b64", "place"))
	tile(w, typ, true, scale, false)
	w.op("mad.lo.u64 %%sums, %%place, 8, %%sums")
	finish(w, "sums")
	return w.entry(name, params...)
}

func sums(name string, scale bool) string {
	w := &writer{}
	params := normParams(NormSumsParams, scale)
	w.params(params...)
	if scale {
		scaled(w)
	}
	w.op("cvta.to.global.u64 %%from, %%from")
	w.op("cvta.to.global.u64 %%to, %%to")
	warp(w)
	w.comment("this warp's tile: elements from %%tile*%d on", kernels.NormTile)
	w.op("mul.lo.u64 %s, %%tile, %d", w.reg("b64", "first"), kernels.NormTile)
	w.op("setp.ge.u64 %s, %%first, %%count", w.reg("pred", "done"))
	w.op("@%%done bra END")
	w.op("sub.u64 %%count, %%count, %%first")
	w.op("min.u64 %%count, %%count, %d", kernels.NormTile)
	w.op("mad.lo.u64 %%from, %%first, 8, %%from")
	tile(w, "f64", false, false, true)
	w.op("mad.lo.u64 %%to, %%tile, 8, %%to")
	finish(w, "to")
	return w.entry(name, params...)
}

// rowsAtOnce is how many rows of kernels.NormLanes elements a thread has under way: 64 bytes of float32, 128 of float64.
const rowsAtOnce = 4

// A tileWriter adds up one tile.
type tileWriter struct {
	*writer
	typ           string
	size          int
	square, scale bool
}

// tile adds up %count elements at %from, or their squares, in the warp: each thread keeps four of the 128 lanes of the tree, those
// of elements 4·lane to 4·lane+3 of every 128. Where scale is set, elements are multiplied by %factor first. They are loaded 16 bytes at a
// time if %from is a multiple of 16, as it always is where aligned is set.
func tile(w *writer, typ string, square, scale, aligned bool) {
	t := &tileWriter{w, typ, 8, square, scale}
	if typ == "f32" {
		t.size = 4
	}
	for l := range 4 {
		w.op("mov.f64 %s, %s", w.reg("f64", fmt.Sprintf("sum_%d", l)), imm("f64", 0))
	}
	w.op("shl.b64 %s, %%lane, 2", w.reg("b64", "i"))
	w.op("mad.lo.u64 %s, %%i, %d, %%from", w.reg("b64", "address"), t.size)
	if !aligned {
		w.op("and.b64 %s, %%from, 15", w.reg("b64", "apart"))
		w.op("setp.ne.u64 %%done, %%apart, 0")
		w.op("@%%done bra NEXT_ROW")
	}
	t.loop("NEXT_ROWS", "NEXT_ROW", rowsAtOnce, true)
	t.loop("NEXT_ROW", "REST", 1, false)
	w.label("REST")
	w.comment("up to three elements behind the last four")
	for l := range 3 {
		k := "%i"
		if l > 0 {
			k = w.reg("b64", "k")
			w.op("add.u64 %s, %%i, %d", k, l)
		}
		w.op("setp.ge.u64 %%done, %s, %%count", k)
		w.op("@%%done bra ROWS_DONE")
		t.load(0, l, false)
		t.add(0, l)
	}
	w.label("ROWS_DONE")
	w.op("bar.warp.sync 0xffffffff")
	w.comment("lanes 64, 32, 16, 8 and 4 apart are 16, 8, 4, 2 and 1 threads apart")
	for d := 16; d > 0; d /= 2 {
		for l := range 4 {
			lo, hi, other := w.reg("b32", "lo"), w.reg("b32", "hi"), w.reg("f64", "other")
			w.op("mov.b64 {%s, %s}, %%sum_%d", lo, hi, l)
			w.op("shfl.sync.down.b32 %s, %s, %d, 31, 0xffffffff", lo, lo, d)
			w.op("shfl.sync.down.b32 %s, %s, %d, 31, 0xffffffff", hi, hi, d)
			w.op("mov.b64 %s, {%s, %s}", other, lo, hi)
			w.op("add.rn.f64 %%sum_%d, %%sum_%d, %s", l, l, other)
		}
	}
	w.op("add.rn.f64 %%sum_0, %%sum_0, %%sum_2")
	w.op("add.rn.f64 %%sum_1, %%sum_1, %%sum_3")
	w.op("add.rn.f64 %%sum_0, %%sum_0, %%sum_1")
}

// loop adds whole rows, some at once, while there are so many for the thread, and goes to a label then.
func (t *tileWriter) loop(label, then string, rows int, vectors bool) {
	end := t.reg("b64", fmt.Sprintf("end_%d", rows))
	t.label(label)
	t.op("add.u64 %s, %%i, %d", end, (rows-1)*kernels.NormLanes+4)
	t.op("setp.lt.u64 %%done, %%count, %s", end)
	t.op("@%%done bra %s", then)
	for row := range rows {
		for l := 0; l < 4; l++ {
			if vectors {
				t.load(row, l, true)
				l += 16/t.size - 1
			} else {
				t.load(row, l, false)
			}
		}
	}
	for row := range rows {
		for l := range 4 {
			t.add(row, l)
		}
	}
	t.op("add.u64 %%i, %%i, %d", rows*kernels.NormLanes)
	t.op("add.u64 %%address, %%address, %d", rows*kernels.NormLanes*t.size)
	t.op("bra %s", label)
}

// element is the register that lane l of a row is loaded into.
func (t *tileWriter) element(row, l int) string {
	return t.reg(t.typ, fmt.Sprintf("in_%d_%d", row, l))
}

// load loads lane l of the row that is so far from %address, or the 16 bytes from there on.
func (t *tileWriter) load(row, l int, vector bool) {
	to, v := t.element(row, l), ""
	if vector {
		n := 16 / t.size
		for i := 1; i < n; i++ {
			to += ", " + t.element(row, l+i)
		}
		to, v = "{"+to+"}", fmt.Sprintf(".v%d", n)
	}
	t.op("ld.global%s.%s %s, [%%address+%d]", v, t.typ, to, (row*kernels.NormLanes+l)*t.size)
}

// add adds what has been loaded to the lane's sum.
func (t *tileWriter) add(row, l int) {
	x := t.element(row, l)
	if t.typ == "f32" {
		wide := t.reg("f64", "x")
		t.op("cvt.f64.f32 %s, %s", wide, x)
		x = wide
	}
	if t.scale {
		t.op("mul.rn.f64 %s, %s, %%factor", x, x)
	}
	if t.square {
		t.op("mul.rn.f64 %s, %s, %s", x, x, x)
	}
	t.op("add.rn.f64 %%sum_%d, %%sum_%d, %s", l, l, x)
}

// finish stores the warp's sum at the address in a register.
func finish(w *writer, at string) {
	w.op("setp.ne.u64 %%done, %%lane, 0")
	w.op("@%%done bra END")
	w.op("st.global.f64 [%%%s], %%sum_0", at)
	w.label("END")
	w.op("ret")
}

func root() string {
	w := &writer{}
	w.params(NormRootParams...)
	w.op("cvta.to.global.u64 %%total, %%total")
	w.op("cvta.to.global.u64 %%scale, %%scale")
	w.op("mov.f64 %s, %s", w.reg("f64", "x"), imm("f64", 0))
	w.op("setp.eq.u64 %s, %%sum, 0", w.reg("pred", "none"))
	w.op("@%%none bra STORE")
	w.op("cvta.to.global.u64 %%sum, %%sum")
	w.op("ld.global.f64 %%x, [%%sum]")
	w.label("STORE")
	factor, condition := w.reg("f64", "factor"), w.reg("pred", "bad")
	w.comment("kernels.NormScale")
	w.op("mov.f64 %s, %s", factor, imm("f64", 1))
	w.op("setp.lt.f64 %s, %s, %%x", condition, imm("f64", math.MaxFloat64))
	w.op("selp.f64 %s, %s, %s, %s", factor, imm("f64", 0x1p-600), factor, condition)
	w.op("setp.lt.f64 %s, %%x, %s", condition, imm("f64", 0x1p-900))
	w.op("selp.f64 %s, %s, %s, %s", factor, imm("f64", 0x1p600), factor, condition)
	w.op("st.global.f64 [%%scale], %s", factor)
	w.op("sqrt.rn.f64 %%x, %%x")
	w.op("st.global.f64 [%%total], %%x")
	w.op("ret")
	return w.entry(NormRoot, NormRootParams...)
}

// scaledRoot is kernels.NormRoot for a scale that is not 1. There is a sum.
func scaledRoot() string {
	w := &writer{}
	w.params(NormRootParams...)
	scaled(w)
	w.op("cvta.to.global.u64 %%total, %%total")
	w.op("cvta.to.global.u64 %%sum, %%sum")
	x, root := w.reg("f64", "x"), w.reg("f64", "root")
	finite, beyond := w.reg("pred", "finite"), w.reg("pred", "beyond")
	w.op("ld.global.f64 %s, [%%sum]", x)
	w.op("sqrt.rn.f64 %s, %s", root, x)
	w.op("div.rn.f64 %s, %s, %%factor", root, root)
	w.op("setp.le.f64 %s, %s, %s", finite, x, imm("f64", math.MaxFloat64))
	w.op("setp.lt.f64 %s, %s, %s", beyond, imm("f64", math.MaxFloat64), root)
	w.op("and.pred %s, %s, %s", beyond, beyond, finite)
	w.op("selp.f64 %s, %s, %s, %s", root, imm("f64", math.MaxFloat64), root, beyond)
	w.op("st.global.f64 [%%total], %s", root)
	w.label("END")
	w.op("ret")
	return w.entry(NormScaledRoot, NormRootParams...)
}
