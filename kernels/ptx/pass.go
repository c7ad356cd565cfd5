package ptx

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A plane is a buffer of each tensor: a field of the graph's elements.
type plane struct {
	element
	field, index   int // in the graph's Vars, and of a tensor's planes
	name           string
	loaded, stored bool
}

// planes are those that a graph loads or stores, in order.
func planes(f *ir.Func) (all []*plane) {
	loads := f.Loads()
	for v, field := range f.Vars {
		p := &plane{elementOf(field.Type, f.Width), v, field.Index, field.Name, slices.Contains(loads, v),
			slices.ContainsFunc(f.Stores, func(s ir.Store) bool { return s.Var == v })}
		if field.Bank == rule.ElemBank && (p.loaded || p.stored) {
			all = append(all, p)
		}
	}
	return all
}

// onlyReads says whether a plane is read and not written, for which a traffic kernel takes "never": see trafficStores.
func onlyReads(f *ir.Func) bool {
	return slices.ContainsFunc(planes(f), func(p *plane) bool { return p.loaded && !p.stored })
}

// own is the name of a register that belongs to the plane, by the field of the rule's element struct.
func (p *plane) own(name string) string { return named(name, p.name) }

// A passWriter writes a kernel of one pass over all chunks.
type passWriter struct {
	*writer
	layout
	f       *ir.Func
	planes  []*plane
	fills   []kernels.Fill
	always  []int // planes that an update of a step that is skipped stores to, and to no others
	traffic bool  // load and store alone
	indexed bool
	lanes   int  // elements of a vector: what 16 bytes of the widest plane hold, and with fills no more than a thread has lanes
	alike   bool // all planes have elements of one size
	walk    func(*passWriter)
	g       *graph
}

func newPass(f *ir.Func, l layout, h Hints, fills ...kernels.Fill) *passWriter {
	w := &passWriter{writer: &writer{hints: h}, layout: l, f: f, planes: planes(f), fills: fills, indexed: indexed(f)}
	w.alike = len(w.planes) > 0
	widest, loads := 1, 0
	for _, p := range w.planes {
		widest = max(widest, p.size)
		w.alike = w.alike && p.size == w.planes[0].size
		if p.loaded {
			loads++
		}
	}
	w.lanes, w.walk = 16/widest, (*passWriter).chunks
	if len(fills) > 0 {
		w.lanes, w.walk = min(w.lanes, fillLanes), (*passWriter).tiles
	}
	if scalars := len(f.Loads()) - loads; f.Width == 64 && scalars > 17 {
		w.perProcessor = 1 // with 2, ptxas spills on sm_75 and sm_80: Adan with all that is around a rule
	} else if f.Width == 64 || scalars > 11 || len(fills) > 0 {
		w.perProcessor = 2 // by itself, ptxas spills: on sm_75 in float64, on sm_120 with as many scalars as Adam has with L1 and L2, on sm_90 with fills
	}
	return w
}

// write writes the kernel with the parameters: GraphParams, and others behind them.
func (w *passWriter) write(name string, params ...string) string {
	w.params(params...)
	if slices.Contains(params, "u64 control") {
		w.op("cvta.to.global.u64 %%control, %%control")
		skip(w.writer)
		if len(w.always) == 0 {
			w.op("@%%is_skipped bra END")
		}
	}
	for _, r := range []string{"chunks", "tensors", "scalars"} {
		w.op("cvta.to.global.u64 %%%s, %%%s", r, r)
	}
	if len(w.fills) > 0 {
		w.op("cvta.to.global.u64 %%sums, %%sums")
	}
	if slices.Contains(params, "u64 never") {
		w.op("setp.ne.u64 %s, %%never, 0", w.reg("pred", "is_never"))
	}
	w.walk(w)
	w.label("END")
	w.op("ret")
	return w.entry(name, params...)
}

// chunks goes through the chunks, a block each.
func (w *passWriter) chunks() {
	for _, r := range []string{"tid", "ntid", "ctaid", "nctaid"} {
		t := w.reg("b32", r+"32")
		w.op("mov.u32 %s, %%%s.x", t, r)
		w.op("cvt.u64.u32 %s, %s", w.reg("b64", r+"64"), t)
	}
	w.comment("one chunk after the other, a grid apart")
	w.op("mov.u64 %s, %%ctaid64", w.reg("b64", "chunk"))
	w.label("NEXT_CHUNK")
	w.op("setp.ge.u64 %s, %%chunk, %%chunk_count", w.reg("pred", "done"))
	w.op("@%%done bra END")
	entry := w.chunk("chunk")
	w.addresses(entry)
	w.uniforms(entry)
	w.vectorLoop()
	w.scalarLoop()
	w.op("add.u64 %%chunk, %%chunk, %%nctaid64")
	w.op("bra NEXT_CHUNK")
}

// shift is by how many bits a number is moved to divide it by n, a power of two. The driver's compiler does not turn div.u64 into that: it
// calls a function of some 70 instructions.
func shift(n int) int { return bits.TrailingZeros(uint(n)) }

// chunk loads what the tables have of a chunk, and returns the register that has the address of the tensor's.
func (w *passWriter) chunk(number string) string {
	e := w.reg("b64", "entry")
	w.op("mad.lo.u64 %s, %%%s, %d, %%chunks", e, number, ChunkWords*word)
	for i, r := range []string{"tensor", "first", "count"} {
		w.op("ld.global.u64 %s, [%s+%d]", w.reg("b64", r), e, i*word)
	}
	w.op("mad.lo.u64 %s, %%tensor, %d, %%tensors", e, w.words()*word)
	if !w.traffic {
		w.op("ld.global.u64 %s, [%s]", w.reg("b64", "group"), e)
	}
	if w.indexed && !w.traffic {
		w.op("ld.global.u64 %s, [%s+%d]", w.reg("b64", "origin"), e, w.indexAt()*word)
		w.op("add.u64 %%origin, %%origin, %%first")
	}
	return e
}

// firstByte computes how far from each plane's first byte the chunk's is, where that is the same.
func (w *passWriter) firstByte() {
	if w.alike {
		w.op("mul.lo.u64 %s, %%first, %d", w.reg("b64", "first_byte"), w.planes[0].size)
	}
}

// address computes the chunk's address in a plane.
func (w *passWriter) address(p *plane, entry string) string {
	a := w.reg("b64", p.own("at"))
	w.op("ld.global.u64 %s, [%s+%d]", a, entry, (1+p.index)*word)
	w.op("cvta.to.global.u64 %s, %s", a, a)
	if w.alike {
		w.op("add.u64 %s, %s, %%first_byte", a, a)
	} else {
		w.op("mad.lo.u64 %s, %%first, %d, %s", a, p.size, a)
	}
	return a
}

// addresses computes the chunk's address in each plane, and how many of its elements are before the vectors, and how many vectors there
// are. A vector is as many elements in each plane, so it can be where all planes' elements are equally far from one.
func (w *passWriter) addresses(entry string) {
	unit := 16 // of a position: bytes of an address, or elements where their sizes differ
	if w.alike {
		w.comment("the chunk's address in each slot; vectors if all are equally far from a multiple of 16")
	} else {
		unit = w.lanes
		w.comment("the chunk's address in each slot; vectors if all are equally many elements from one")
	}
	w.firstByte()
	w.op("mov.u64 %s, 0", w.reg("b64", "apart"))
	first := ""
	for i, p := range w.planes {
		a := w.address(p, entry)
		position := a
		if !w.alike {
			position = w.reg("b64", p.own("position"))
			w.op("shr.u64 %s, %s, %d", position, a, shift(p.size))
		}
		if i == 0 {
			first = position
			continue
		}
		x := w.reg("b64", "diff")
		w.op("xor.b64 %s, %s, %s", x, position, first)
		w.op("or.b64 %%apart, %%apart, %s", x)
	}
	w.op("and.b64 %%apart, %%apart, %d", unit-1)
	w.op("setp.eq.u64 %s, %%apart, 0", w.reg("pred", "together"))
	if w.alike {
		w.comment("head: elements up to a multiple of 16 bytes, or all")
	} else {
		w.comment("head: elements up to a vector, or all")
	}
	w.op("neg.s64 %s, %s", w.reg("b64", "head"), first)
	w.op("and.b64 %%head, %%head, %d", unit-1)
	if by := shift(unit / w.lanes); by > 0 {
		w.op("shr.u64 %%head, %%head, %d", by)
	}
	w.op("min.u64 %%head, %%head, %%count")
	w.op("selp.b64 %%head, %%head, %%count, %%together")
	w.op("sub.u64 %s, %%count, %%head", w.reg("b64", "vectors"))
	w.op("shr.u64 %%vectors, %%vectors, %d", shift(w.lanes))
}

// uniforms loads the group's scalars and computes what depends on nothing else.
func (w *passWriter) uniforms(entry string) {
	if w.traffic {
		return
	}
	w.g = w.graph(w.f)
	size := w.f.Width / 8
	loads := w.f.Loads()
	if slices.ContainsFunc(loads, func(v int) bool { return w.f.Vars[v].Bank == rule.TensorBank }) {
		w.comment("the tensor's scalars")
	}
	for _, v := range loads {
		if field := w.f.Vars[v]; field.Bank == rule.TensorBank {
			r := w.reg(w.g.typ, named("in", field.Name))
			w.op("ld.global.%s %s, [%s+%d]", w.g.typ, r, entry, (w.ownAt()+field.Index)*word)
			w.g.set(v, r)
		}
	}
	w.comment("the group's scalars")
	w.op("mad.lo.u64 %s, %%group, %d, %%scalars", entry, w.scalars*size)
	for _, v := range loads {
		field := w.f.Vars[v]
		if field.Bank != rule.ScalarsBank && field.Bank != rule.SharedBank {
			continue
		}
		i := field.Index
		if field.Bank == rule.SharedBank {
			i += w.rules
		}
		e := elementOf(field.Type, w.f.Width)
		r := w.reg(e.typ, named("in", field.Name))
		w.op("ld.global.%s %s, [%s+%d]", e.memory, r, entry, i*size)
		w.g.set(v, r)
	}
	varying := w.f.Varying(rule.ElemBank, rule.RowBank, rule.ColumnBank)
	w.g.run(func(v ir.Value) bool { return !varying[v] })
}

// vectorLoop updates a vector of each plane at a time.
func (w *passWriter) vectorLoop() {
	w.comment("whole vectors of 16 bytes")
	w.op("mov.u64 %s, %%tid64", w.reg("b64", "i"))
	w.label("NEXT_VECTOR")
	w.op("setp.ge.u64 %%done, %%i, %%vectors")
	w.op("@%%done bra VECTORS_DONE")
	w.op("mad.lo.u64 %s, %%i, %d, %%head", w.reg("b64", "element"), w.lanes)
	w.elements(w.lanes)
	w.op("add.u64 %%i, %%i, %%ntid64")
	w.op("bra NEXT_VECTOR")
	w.label("VECTORS_DONE")
}

// scalarLoop updates the head and what the vectors leave at the end.
func (w *passWriter) scalarLoop() {
	w.comment("elements before and after them")
	w.op("mul.lo.u64 %s, %%vectors, %d", w.reg("b64", "skip"), w.lanes)
	w.op("sub.u64 %s, %%count, %%skip", w.reg("b64", "rest"))
	w.op("mov.u64 %%i, %%tid64")
	w.label("NEXT_ELEMENT")
	w.op("setp.ge.u64 %%done, %%i, %%rest")
	w.op("@%%done bra ELEMENTS_DONE")
	w.op("setp.ge.u64 %s, %%i, %%head", w.reg("pred", "after"))
	w.op("selp.b64 %%element, %%skip, 0, %%after")
	w.op("add.u64 %%element, %%element, %%i")
	w.elements(1)
	w.op("add.u64 %%i, %%i, %%ntid64")
	w.op("bra NEXT_ELEMENT")
	w.label("ELEMENTS_DONE")
}

// A planeAccess is elements of a plane.
type planeAccess struct {
	*plane
	*access
}

// access is n elements of a plane, at an address in a register.
func (w *passWriter) access(p *plane, n int) *access {
	return &access{w.writer, p.element, n, w.reg("b64", p.own("address")), func(what string, i int) string { return p.own(fmt.Sprintf("%s_%d", what, i)) }}
}

// elements updates n elements from %element on, and returns their graphs; of traffic there are none.
func (w *passWriter) elements(n int) (lanes []*graph) {
	var all []planeAccess
	for _, p := range w.planes {
		a := w.access(p, n)
		w.op("mad.lo.u64 %s, %%element, %d, %%%s", a.address, p.size, p.own("at"))
		all = append(all, planeAccess{p, a})
	}
	for _, a := range all {
		if a.loaded {
			a.load()
		}
	}
	if w.traffic {
		trafficStores(all)
		return nil
	}
	for _, a := range all {
		if a.loaded {
			a.unpack()
		}
	}
	for lane := range n {
		lanes = append(lanes, w.lane(lane, all))
	}
	for _, s := range w.f.Stores {
		if w.f.Vars[s.Var].Bank != rule.ElemBank { // a term
			continue
		}
		a := all[slices.IndexFunc(all, func(a planeAccess) bool { return a.field == s.Var })]
		var values []string
		for _, g := range lanes {
			values = append(values, g.at[s.Value])
		}
		unless := ""
		if len(w.always) > 0 && !slices.Contains(w.always, s.Var) {
			unless = "@!%is_skipped "
		}
		a.store(unless, a.pack(values))
	}
	return lanes
}

// lane is the graph of one element.
func (w *passWriter) lane(lane int, all []planeAccess) *graph {
	g := w.g.copy(fmt.Sprintf("_%d", lane))
	for _, a := range all {
		if a.loaded {
			g.set(a.field, a.in(lane))
		}
	}
	if w.indexed {
		g.index = w.reg("b64", fmt.Sprintf("index_%d", lane))
		w.op("add.u64 %s, %%origin, %%element", g.index)
		if lane > 0 {
			w.op("add.u64 %s, %s, %d", g.index, g.index, lane)
		}
	}
	g.run(func(ir.Value) bool { return true })
	return g
}

// trafficStores stores back what was loaded. What is loaded and not stored would be dropped by the compiler, if it were not
// stored under a condition that never holds and that it cannot know. What is stored and not loaded becomes 0: a tensor's table must
// have other memory for it.
func trafficStores(all []planeAccess) {
	for _, a := range all {
		if !a.stored {
			continue
		}
		if !a.loaded {
			a.clear()
		}
		a.store("", a.whole())
	}
	for _, a := range all {
		if a.loaded && !a.stored {
			a.store("@%is_never ", a.whole())
		}
	}
}
