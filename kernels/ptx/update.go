package ptx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// The device memory that an update walks, all 64-bit words:
//
//	chunk   tensor, first element, number of elements
//	tensor  group, then the address of each plane that the graph loads or stores, in order of field, and then, if the graph
//	        asks for an element's index, the tensor's offset: the index of its first element in the whole tensor
//	scalars per group: the rule's scalars and then a rule.Shared, each of the graph's width
const (
	ChunkWords = 3
	word       = 8
)

// UpdateParams are the parameters of the update and of the traffic kernel.
var UpdateParams = []string{"u64 chunks", "u64 chunk_count", "u64 tensors", "u64 scalars"}

// Module is the text of a program's kernels and their names.
type Module struct {
	Text                      string
	Update, Prologue, Traffic string
	Slots                     []int // the fields that the graph loads or stores: the words of a tensor after its group
	Indexed                   bool  // a tensor's last word is its offset
}

// New writes a program.
func New(p kernels.Program) (*Module, error) {
	f, err := p.Graph()
	if err != nil {
		return nil, err
	}
	pro, err := p.Rule.Prologue(p.Options)
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(strings.Join(append([]string{p.Rule.Name}, p.Variant()...), "_"))
	name = fmt.Sprintf("%s_f%d", mangle(name), f.Width)
	m := module(name, f)
	m.Prologue = name + "_prologue"
	m.Text = fmt.Sprintf("// %s: written by fusestep from the rule's Go source.\n", ascii(p.String())) + header +
		pass(m.Update, f, len(p.Rule.Scalars), false) + prologue(m.Prologue, p, pro) + pass(m.Traffic, f, len(p.Rule.Scalars), true)
	return m, nil
}

// OfGraph writes the kernels of a graph alone, which has no prologue: its groups' scalars are those of a rule that has so many, and a
// rule.Shared.
func OfGraph(name string, f *ir.Func, scalars int) *Module {
	m := module(name, f)
	m.Text = fmt.Sprintf("// %s: written by fusestep.\n", ascii(name)) + header + pass(m.Update, f, scalars, false) + pass(m.Traffic, f, scalars, true)
	return m
}

// module is all of a graph's module but its text.
func module(name string, f *ir.Func) *Module {
	m := &Module{Update: name + "_update", Traffic: name + "_traffic", Indexed: indexed(f)}
	for _, p := range planes(f) {
		m.Slots = append(m.Slots, p.field)
	}
	return m
}

// indexed says whether a graph asks for an element's index.
func indexed(f *ir.Func) bool {
	return slices.ContainsFunc(f.Nodes, func(n ir.Node) bool { return n.Op == ir.Element })
}

// A passWriter writes one pass over all chunks.
type passWriter struct {
	*writer
	f       *ir.Func
	planes  []*plane
	scalars int  // of the rule
	traffic bool // load and store alone
	indexed bool
	lanes   int  // elements of a vector: what 16 bytes of the widest plane hold
	alike   bool // all planes have elements of one size
	g       *graph
}

func pass(name string, f *ir.Func, scalars int, traffic bool) string {
	w := &passWriter{writer: &writer{}, f: f, planes: planes(f), scalars: scalars, traffic: traffic, indexed: indexed(f), alike: true}
	widest, loads := 1, 0
	for _, p := range w.planes {
		widest = max(widest, p.size)
		w.alike = w.alike && p.size == w.planes[0].size
		if p.load {
			loads++
		}
	}
	w.lanes = 16 / widest
	if f.Width == 64 || len(f.Loads())-loads > 11 {
		w.perProcessor = 2 // by itself, ptxas spills: on sm_75 in float64, on sm_120 with as many scalars as Adam has with L1 and L2
	}
	params := UpdateParams
	if traffic {
		params = append(slices.Clone(params), "u64 never") // 0, which the compiler cannot know: see store
	}
	w.params(params...)
	for _, r := range []string{"chunks", "tensors", "scalars"} {
		w.op("cvta.to.global.u64 %%%s, %%%s", r, r)
	}
	for _, r := range []string{"tid", "ntid", "ctaid", "nctaid"} {
		t := w.reg("b32", r+"32")
		w.op("mov.u32 %s, %%%s.x", t, r)
		w.op("cvt.u64.u32 %s, %s", w.reg("b64", r+"64"), t)
	}
	if traffic {
		w.op("setp.ne.u64 %s, %%never, 0", w.reg("pred", "is_never"))
	}
	w.comment("one chunk after the other, a grid apart")
	w.op("mov.u64 %s, %%ctaid64", w.reg("b64", "chunk"))
	w.label("NEXT_CHUNK")
	w.op("setp.ge.u64 %s, %%chunk, %%chunk_count", w.reg("pred", "done"))
	w.op("@%%done bra END")
	w.chunk()
	w.vectorLoop()
	w.scalarLoop()
	w.op("add.u64 %%chunk, %%chunk, %%nctaid64")
	w.op("bra NEXT_CHUNK")
	w.label("END")
	w.op("ret")
	return w.entry(name, params...)
}

// chunk loads what is the same for all elements of a chunk.
func (w *passWriter) chunk() {
	e := w.reg("b64", "entry")
	w.op("mad.lo.u64 %s, %%chunk, %d, %%chunks", e, ChunkWords*word)
	for i, r := range []string{"tensor", "first", "count"} {
		w.op("ld.global.u64 %s, [%s+%d]", w.reg("b64", r), e, i*word)
	}
	words := 1 + len(w.planes)
	if w.indexed {
		words++
	}
	w.op("mad.lo.u64 %s, %%tensor, %d, %%tensors", e, words*word)
	if !w.traffic {
		w.op("ld.global.u64 %s, [%s]", w.reg("b64", "group"), e)
	}
	if w.indexed && !w.traffic {
		w.op("ld.global.u64 %s, [%s+%d]", w.reg("b64", "origin"), e, (words-1)*word)
		w.op("add.u64 %%origin, %%origin, %%first")
	}
	w.addresses(e)
	if !w.traffic {
		w.uniforms(e)
	}
}

// addresses computes the chunk's address in each plane, and how many of its elements are before the vectors, and how many vectors there
// are. A vector is as many elements in each plane, so it can be where all planes' elements are equally far from one.
func (w *passWriter) addresses(entry string) {
	unit := 16 // of a position: bytes of an address, or elements where their sizes differ
	if w.alike {
		w.comment("the chunk's address in each slot; vectors if all are equally far from a multiple of 16")
		w.op("mul.lo.u64 %s, %%first, %d", w.reg("b64", "first_byte"), w.planes[0].size)
	} else {
		unit = w.lanes
		w.comment("the chunk's address in each slot; vectors if all are equally many elements from one")
	}
	w.op("mov.u64 %s, 0", w.reg("b64", "apart"))
	first := ""
	for i, p := range w.planes {
		a := w.reg("b64", p.own("at"))
		w.op("ld.global.u64 %s, [%s+%d]", a, entry, (1+i)*word)
		w.op("cvta.to.global.u64 %s, %s", a, a)
		position := a
		if w.alike {
			w.op("add.u64 %s, %s, %%first_byte", a, a)
		} else {
			w.op("mad.lo.u64 %s, %%first, %d, %s", a, p.size, a)
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
	w.comment("the group's scalars")
	w.g = w.graph(w.f)
	size := w.f.Width / 8
	w.op("mad.lo.u64 %s, %%group, %d, %%scalars", entry, (w.scalars+kernels.SharedScalars)*size)
	for _, v := range w.f.Loads() {
		field := w.f.Vars[v]
		if field.Bank == rule.ElemBank {
			continue
		}
		i := field.Index
		if field.Bank == rule.SharedBank {
			i += w.scalars
		}
		typ, memory := types(field.Type, w.f.Width)
		r := w.reg(typ, named("in", field.Name))
		w.op("ld.global.%s %s, [%s+%d]", memory, r, entry, i*size)
		w.g.set(v, r)
	}
	varying := w.f.Varying(rule.ElemBank)
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

// elements updates n elements from %element on.
func (w *passWriter) elements(n int) {
	var all []*access
	for _, p := range w.planes {
		a := &access{w.writer, p, n, w.reg("b64", p.own("address"))}
		w.op("mad.lo.u64 %s, %%element, %d, %%%s", a.address, p.size, p.own("at"))
		all = append(all, a)
	}
	for _, a := range all {
		if a.p.load {
			a.load()
		}
	}
	if w.traffic {
		trafficStores(all)
		return
	}
	for _, a := range all {
		if a.p.load {
			a.unpack()
		}
	}
	lanes := make([]*graph, n)
	for lane := range n {
		lanes[lane] = w.lane(lane, all)
	}
	for _, s := range w.f.Stores {
		a := all[slices.IndexFunc(all, func(a *access) bool { return a.p.field == s.Var })]
		var values []string
		for _, g := range lanes {
			values = append(values, g.at[s.Value])
		}
		a.store("", a.pack(values))
	}
}

// lane is the graph of one element.
func (w *passWriter) lane(lane int, all []*access) *graph {
	g := w.g.copy(fmt.Sprintf("_%d", lane))
	for _, a := range all {
		if a.p.load {
			g.set(a.p.field, a.element(lane))
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
func trafficStores(all []*access) {
	for _, a := range all {
		if !a.p.store {
			continue
		}
		if !a.p.load {
			a.clear()
		}
		a.store("", a.registers())
	}
	for _, a := range all {
		if a.p.load && !a.p.store {
			a.store("@%is_never ", a.registers())
		}
	}
}
