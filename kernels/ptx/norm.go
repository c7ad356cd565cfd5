package ptx

import (
	"slices"
	"sync"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
)

const (
	// NormWarps is the number of tiles of sums that a block adds up.
	NormWarps = Block / 32
	// TileWords: a tile is its address, the number of its elements, and where its sum goes: a place among the sums, or an address.
	TileWords = 3
)

// A NormPass is the names of the kernels of some stages of kernels.Norm or kernels.NormOfTensors, a Reduce with terms, and the Scalars that its
// sum goes to. Squares sum the terms of each tile of a gradient; Sums adds up tiles of sums, one warp a tile, and is launched until one is left;
// Root computes the numbers of that. Tensors adds up tiles of sums of one tensor each, and is launched until each tensor has one; "" where there are
// no sums of tensors. Where Unless says that the stages are passed over, the kernels return at once. Only float64 ever needs the second pass.
type NormPass struct {
	Reduce, Scalars     *kernels.Stage
	Squares             []string // by NormGradients
	Tensors, Sums, Root string
}

// NormPasses are those of one of the two programs.
func NormPasses(of *kernels.Program) (all []NormPass) {
	var p NormPass
	for i := range of.Stages {
		switch stage := &of.Stages[i]; {
		case stage.Terms != nil:
			p = NormPass{Reduce: stage}
		case stage.Kind == kernels.Scalars:
			p.Scalars = stage
			prefix, tensors := "norm_", p.Reduce.Over == kernels.OneTensor
			if tensors {
				prefix += "tensors_"
			}
			if stage.Unless != "" {
				prefix += "scaled_"
			}
			for _, g := range NormGradients {
				p.Squares = append(p.Squares, prefix+"squares_"+g.name)
			}
			if p.Sums, p.Root = prefix+"sums", prefix+"root"; tensors {
				p.Tensors = prefix + "own"
			}
			all = append(all, p)
		}
	}
	return all
}

// A NormGradient is a type of gradients.
type NormGradient struct {
	DType device.DType
	Tiles int // that a block sums
	name  string
}

// NormGradients are the types of gradients that have a norm.
var NormGradients = []NormGradient{
	{device.Float32, NormWarps, "f32"}, {device.Float64, NormWarps, "f64"}, {device.BFloat16, 2 * NormWarps, "bf16"}, {device.Float16, 2 * NormWarps, "f16"},
}

// NormSquaresParams: the tiles, and the sums, float64. The kernels of a pass that may be passed over take the address of what says so besides, as their
// last parameter: the kept output of the Scalars before.
var NormSquaresParams = []string{"u64 tiles", "u64 tile_count", "u64 sums"}

// NormTensorsParams: tiles of sums, each with the address that its own sum goes to.
var NormTensorsParams = []string{"u64 tiles", "u64 tile_count"}

// NormSumsParams: count float64 to add up, and where the sums of their tiles go.
var NormSumsParams = []string{"u64 from", "u64 count", "u64 to"}

// NormRootParams: the last sum, the words of kernels.Step.Control, and where the output is kept that says whether later stages run, float64.
var NormRootParams = []string{"u64 sum", "u64 control", "u64 scale"}

// norms are the texts of Norm, by program.
var norms sync.Map

// Norm is the text of the kernels of kernels.Norm or kernels.NormOfTensors.
func Norm(of *kernels.Program) string {
	if text, ok := norms.Load(of); ok {
		return text.(string)
	}
	text := "// The gradient norm: written by fusestep.\n" + header
	for _, p := range NormPasses(of) {
		for i := range NormGradients {
			text += p.squares(i)
		}
		if p.Tensors != "" {
			text += p.tensors()
		}
		text += p.sums() + p.root()
	}
	norms.Store(of, text)
	return text
}

// begin loads the parameters, and the scale where a pass may be passed over: it returns where that is 1. The kernel ends at END.
func (p *NormPass) begin(w *writer, params []string) []string {
	if p.Reduce.Unless != "" && !slices.Contains(params, "u64 scale") {
		params = append(slices.Clone(params), "u64 scale")
	}
	w.params(params...)
	if p.Reduce.Unless != "" {
		w.op("cvta.to.global.u64 %%scale, %%scale")
		w.op("ld.global.f64 %s, [%%scale]", w.reg("f64", "factor"))
		w.op("setp.eq.f64 %s, %%factor, %s", w.reg("pred", "done"), imm("f64", 1))
		w.op("@%%done bra END")
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

// ownTile loads what the table has of the threads' own tile: %from, %count, and its third word. Threads without a tile go to END, where those
// of others' warps need not stay.
func ownTile(w *writer, threads int, third string) {
	w.op("cvta.to.global.u64 %%tiles, %%tiles")
	tileOf(w, threads)
	if threads == 32 {
		w.op("setp.ge.u64 %s, %%tile, %%tile_count", w.reg("pred", "done"))
		w.op("@%%done bra END")
	} else {
		w.comment("threads without a tile stay, as others of their warp may have one: theirs has no elements")
		w.op("setp.ge.u64 %s, %%tile, %%tile_count", w.reg("pred", "none"))
		w.op("sub.u64 %s, %%tile_count, 1", w.reg("b64", "last"))
		w.op("min.u64 %%tile, %%tile, %%last")
	}
	w.op("mad.lo.u64 %%tiles, %%tile, %d, %%tiles", TileWords*word)
	for i, r := range []string{"from", "count", third} {
		w.op("ld.global.u64 %s, [%%tiles+%d]", w.reg("b64", r), i*word)
	}
	w.op("cvta.to.global.u64 %%from, %%from")
}

// squares sums the terms of gradients of a type.
func (p *NormPass) squares(i int) string {
	of := NormGradients[i]
	w := &writer{}
	params := p.begin(w, NormSquaresParams)
	w.op("cvta.to.global.u64 %%sums, %%sums")
	t := newTileWriter(w, p.Reduce.Terms[of.DType], Block/of.Tiles)
	ownTile(w, t.threads, "place")
	if t.threads < 32 {
		w.op("selp.b64 %%count, 0, %%count, %%none")
	}
	t.tile(false)
	w.op("mad.lo.u64 %%sums, %%place, 8, %%sums")
	if t.threads < 32 {
		w.op("@%%none bra END")
	}
	finish(w, "sums")
	return w.entry(p.Squares[i], params...)
}

// tensors is the tree over each tensor, a level of it.
func (p *NormPass) tensors() string {
	w := &writer{}
	params := p.begin(w, NormTensorsParams)
	ownSums(w, false)
	return w.entry(p.Tensors, params...)
}

// ownSums folds tiles of sums, each to an address of its own.
func ownSums(w *writer, max bool) {
	ownTile(w, 32, "to")
	w.op("cvta.to.global.u64 %%to, %%to")
	t := newTileWriter(w, nil, 32)
	t.max = max
	t.tile(false)
	finish(w, "to")
}

func (p *NormPass) sums() string {
	w := &writer{}
	params := p.begin(w, NormSumsParams)
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
	t := newTileWriter(w, nil, 32)
	t.tile(true)
	w.op("mad.lo.u64 %%to, %%tile, 8, %%to")
	finish(w, "to")
	return w.entry(p.Sums, params...)
}

// finish stores the warp's sum at the address in a register.
func finish(w *writer, at string) {
	w.op("setp.ne.u64 %%done, %%lane, 0")
	w.op("@%%done bra END")
	w.op("st.global.f64 [%%%s], %%sum_0", at)
	w.label("END")
	w.op("ret")
}

// root is the Scalars stage.
func (p *NormPass) root() string {
	w := &writer{}
	params := p.begin(w, NormRootParams)
	f, kept := p.Scalars.Graph, p.Reduce.Unless == ""
	addresses := []string{"sum", "control"}
	if kept {
		addresses = append(addresses, "scale")
	}
	for _, r := range addresses {
		w.op("cvta.to.global.u64 %%%s, %%%s", r, r)
	}
	g := w.graph(f)
	for _, v := range f.Loads() {
		field := f.Vars[v]
		if field.Bank != kernels.ControlBank && field.Name != kernels.SumField {
			g.set(v, "%factor")
			continue
		}
		x := w.reg("f64", named("in", field.Name))
		if field.Bank == kernels.ControlBank {
			w.op("ld.global.f64 %s, [%%control+%d]", x, field.Index*word)
		} else {
			w.op("ld.global.f64 %s, [%%sum]", x)
		}
		g.set(v, x)
	}
	g.run(func(ir.Value) bool { return true })
	for _, s := range f.Stores {
		switch field := f.Vars[s.Var]; {
		case field.Bank == kernels.ControlBank:
			w.op("st.global.f64 [%%control+%d], %s", field.Index*word, g.at[s.Value])
		case kept:
			w.op("st.global.f64 [%%scale], %s", g.at[s.Value])
		}
	}
	if !kept {
		w.label("END")
	}
	w.op("ret")
	return w.entry(p.Root, params...)
}
