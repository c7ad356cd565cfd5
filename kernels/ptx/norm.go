package ptx

import (
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ir"
)

// The norm's kernels, by kernels.SumSquares, SumTree and NormRoot: NormSquares sums the squares of each tile of a gradient; NormSums
// adds up tiles of sums, one warp a tile, and is launched until one is left; NormRoot takes its root, and says by what elements
// are to be scaled. Where that is not 1, which only float64 can bring about, the kernels for scaled elements do the same once more; where it
// is 1, they return at once.
const (
	NormSums = "norm_sums"
	NormRoot = "norm_root"

	NormScaledSums = "norm_scaled_sums"
	NormScaledRoot = "norm_scaled_root"

	// NormWarps is the number of tiles of sums that a block adds up.
	NormWarps = Block / 32
	// TileWords: a tile is its address, the number of its elements, and where its sum goes.
	TileWords = 3
)

// A NormGradient is the kernels for gradients of one type.
type NormGradient struct {
	DType                  device.DType
	Squares, ScaledSquares string
	Tiles                  int // that a block sums

	typ    string   // of a register that holds an element
	decode *ir.Func // the number, field 1, that an element of memory, field 0, stands for; nil where it is one
}

// NormGradients are the types of gradients that have a norm.
var NormGradients = []NormGradient{
	{device.Float32, "norm_squares_f32", "norm_scaled_squares_f32", NormWarps, "f32", nil},
	{device.Float64, "norm_squares_f64", "norm_scaled_squares_f64", NormWarps, "f64", nil},
	{device.BFloat16, "norm_squares_bf16", "norm_scaled_squares_bf16", 2 * NormWarps, "b32", half(device.BFloat16)},
	{device.Float16, "norm_squares_f16", "norm_scaled_squares_f16", 2 * NormWarps, "b32", half(device.Float16)},
}

// half is how a number of 16 bits is decoded.
func half(t device.DType) *ir.Func {
	f, err := format.Plain(t, device.Float64)
	if err != nil {
		panic(err)
	}
	b := ir.NewBuilder("decode", 64, []ir.Field{{Name: "bits", Type: f.Planes()[0].Type}, {Index: 1, Name: "x"}})
	return b.Func([]ir.Value{b.Var(0), f.Decode(b, []ir.Value{b.Var(0)})})
}

// NormSquaresParams: the tiles, and the sums, float64. The kernels for scaled elements take the scale's address besides, as their
// last parameter.
var NormSquaresParams = []string{"u64 tiles", "u64 tile_count", "u64 sums"}

// NormSumsParams: count float64 to add up, and where the sums of their tiles go.
var NormSumsParams = []string{"u64 from", "u64 count", "u64 to"}

// NormRootParams: the last sum, or 0 if there is none, where its root goes, and where the scale stands, float64.
var NormRootParams = []string{"u64 sum", "u64 total", "u64 scale"}

// Norm is the text of the norm's kernels.
func Norm() string {
	text := "// The gradient norm: written by fusestep.\n" + header
	for _, scale := range []bool{false, true} {
		for i := range NormGradients {
			text += squares(&NormGradients[i], scale)
		}
		if scale {
			text += sums(NormScaledSums, true) + scaledRoot()
		} else {
			text += sums(NormSums, false) + root()
		}
	}
	return text
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

// tileOf computes in %tile the number of the tile that so many threads side by side have, which is that of those threads in the grid,
// and in %lane the thread's number among them.
func tileOf(w *writer, threads int) {
	for _, r := range []string{"tid", "ctaid"} {
		w.op("mov.u32 %s, %%%s.x", w.reg("b32", r+"32"), r)
	}
	w.op("and.b32 %s, %%tid32, %d", w.reg("b32", "lane32"), threads-1)
	w.op("cvt.u64.u32 %s, %%lane32", w.reg("b64", "lane"))
	w.op("shr.u32 %s, %%tid32, %d", w.reg("b32", "warp32"), shift(threads))
	w.op("mad.lo.u32 %%warp32, %%ctaid32, %d, %%warp32", Block/threads)
	w.op("cvt.u64.u32 %s, %%warp32", w.reg("b64", "tile"))
}

func squares(of *NormGradient, scale bool) string {
	w := &writer{}
	name, params := of.Squares, normParams(NormSquaresParams, scale)
	if scale {
		name = of.ScaledSquares
	}
	w.params(params...)
	if scale {
		scaled(w)
	}
	w.op("cvta.to.global.u64 %%tiles, %%tiles")
	w.op("cvta.to.global.u64 %%sums, %%sums")
	t := &tileWriter{writer: w, typ: of.typ, size: of.DType.Size(), threads: Block / of.Tiles, decode: of.decode, square: true, scale: scale}
	tileOf(w, t.threads)
	if t.threads == 32 {
		w.op("setp.ge.u64 %s, %%tile, %%tile_count", w.reg("pred", "done"))
		w.op("@%%done bra END")
	} else {
		w.comment("threads without a tile stay, as others of their warp may have one: theirs has no elements")
		w.op("setp.ge.u64 %s, %%tile, %%tile_count", w.reg("pred", "none"))
		w.op("sub.u64 %s, %%tile_count, 1", w.reg("b64", "last"))
		w.op("min.u64 %%tile, %%tile, %%last")
	}
	w.op("mad.lo.u64 %%tiles, %%tile, %d, %%tiles", TileWords*word)
	w.op("ld.global.u64 %s, [%%tiles]", w.reg("b64", "from"))
	w.op("cvta.to.global.u64 %%from, %%from")
	w.op("ld.global.u64 %s, [%%tiles+8]", w.reg("b64", "count"))
	w.op("ld.global.u64 %s, [%%tiles+16]", w.reg("b64", "place"))
	if t.threads < 32 {
		w.op("selp.b64 %%count, 0, %%count, %%none")
	}
	t.tile(false)
	w.op("mad.lo.u64 %%sums, %%place, 8, %%sums")
	if t.threads < 32 {
		w.op("@%%none bra END")
	}
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
	tileOf(w, 32)
	w.comment("this warp's tile: elements from %%tile*%d on", kernels.NormTile)
	w.op("mul.lo.u64 %s, %%tile, %d", w.reg("b64", "first"), kernels.NormTile)
	w.op("setp.ge.u64 %s, %%first, %%count", w.reg("pred", "done"))
	w.op("@%%done bra END")
	w.op("sub.u64 %%count, %%count, %%first")
	w.op("min.u64 %%count, %%count, %d", kernels.NormTile)
	w.op("mad.lo.u64 %%from, %%first, 8, %%from")
	t := &tileWriter{writer: w, typ: "f64", size: 8, threads: 32}
	t.tile(true)
	w.op("mad.lo.u64 %%to, %%tile, 8, %%to")
	finish(w, "to")
	return w.entry(name, params...)
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
