package ptx

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// The device memory that an update walks, all 64-bit words:
//
//	chunk   tensor, first element, number of elements
//	tensor  group, then the address of each of the program's planes
//	scalars per group: what kernels.Program.Scalars computes, each rounded to the program's type
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
}

// New writes a program.
func New(p *kernels.Program) *Module {
	name := strings.ToLower(strings.Join(append([]string{p.Rule.Name}, p.Variant()...), "_"))
	name = fmt.Sprintf("%s_f%d", mangle(name), p.Graph.Width)
	m := &Module{Update: name + "_update", Prologue: name + "_prologue", Traffic: name + "_traffic"}
	m.Text = fmt.Sprintf("// %s: written by fusestep from the rule's Go source.\n", ascii(p.String())) + header +
		pass(m.Update, p, false) + prologue(m.Prologue, p) + pass(m.Traffic, p, true)
	return m
}

// A passWriter writes one pass over all chunks.
type passWriter struct {
	*writer
	p                    *kernels.Program
	f                    *ir.Func
	slots, loads, stores []int
	traffic              bool // load and store alone
	typ                  string
	size, lanes          int // bytes of an element; elements of 16 bytes
	g                    *graph
}

func pass(name string, p *kernels.Program, traffic bool) string {
	f, loads := p.Graph, p.Loads
	size := f.Width / 8
	w := &passWriter{writer: &writer{}, p: p, f: f, loads: loads, stores: p.Stores, traffic: traffic,
		typ: fmt.Sprintf("f%d", f.Width), size: size, lanes: 16 / size}
	for k := range p.Planes {
		w.slots = append(w.slots, k)
	}
	if scalars := len(f.Loads()) - len(loads); f.Width == 64 || scalars > 11 {
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

// shift is by how many bits a number is moved to divide it by n, a power of two. The driver's compiler does not turn div.u64 into that: it
// calls a function of some 70 instructions.
func shift(n int) int { return bits.TrailingZeros(uint(n)) }

// chunk loads what is the same for all elements of a chunk.
func (w *passWriter) chunk() {
	e := w.reg("b64", "entry")
	w.op("mad.lo.u64 %s, %%chunk, %d, %%chunks", e, ChunkWords*word)
	for i, r := range []string{"tensor", "first", "count"} {
		w.op("ld.global.u64 %s, [%s+%d]", w.reg("b64", r), e, i*word)
	}
	w.op("mad.lo.u64 %s, %%tensor, %d, %%tensors", e, (1+len(w.slots))*word)
	if !w.traffic {
		w.op("ld.global.u64 %s, [%s]", w.reg("b64", "group"), e)
	}
	w.comment("the chunk's address in each slot; vectors if all are equally far from a multiple of 16")
	w.op("mul.lo.u64 %s, %%first, %d", w.reg("b64", "first_byte"), w.size)
	w.op("mov.u64 %s, 0", w.reg("b64", "apart"))
	for i, k := range w.slots {
		a := w.reg("b64", w.slot("at", k))
		w.op("ld.global.u64 %s, [%s+%d]", a, e, (1+i)*word)
		w.op("cvta.to.global.u64 %s, %s", a, a)
		w.op("add.u64 %s, %s, %%first_byte", a, a)
		if i > 0 {
			x := w.reg("b64", "diff")
			w.op("xor.b64 %s, %s, %%%s", x, a, w.slot("at", w.slots[0]))
			w.op("or.b64 %%apart, %%apart, %s", x)
		}
	}
	w.op("and.b64 %%apart, %%apart, 15")
	w.op("setp.eq.u64 %s, %%apart, 0", w.reg("pred", "together"))
	w.comment("head: elements up to a multiple of 16 bytes, or all")
	w.op("neg.s64 %s, %%%s", w.reg("b64", "head"), w.slot("at", w.slots[0]))
	w.op("and.b64 %%head, %%head, 15")
	w.op("shr.u64 %%head, %%head, %d", shift(w.size))
	w.op("min.u64 %%head, %%head, %%count")
	w.op("selp.b64 %%head, %%head, %%count, %%together")
	w.op("sub.u64 %s, %%count, %%head", w.reg("b64", "vectors"))
	w.op("shr.u64 %%vectors, %%vectors, %d", shift(w.lanes))

	if w.traffic {
		return
	}
	w.comment("the group's scalars")
	w.g = w.graph(w.f)
	w.op("mad.lo.u64 %s, %%group, %d, %%scalars", e, w.p.NumScalars()*w.size)
	for _, v := range w.f.Loads() {
		field := w.f.Vars[v]
		if field.Bank == rule.ElemBank {
			continue
		}
		i := field.Index
		if field.Bank == rule.SharedBank {
			i += len(w.p.Rule.Scalars)
		}
		r := w.reg(w.typ, named("in", field.Name))
		w.op("ld.global.%s %s, [%s+%d]", w.typ, r, e, i*w.size)
		w.g.set(v, r)
	}
	w.g.run(func(v ir.Value) bool { return !w.p.Varying[v] })
}

// slot is the name of a register that belongs to a slot, by the field of the rule's element struct.
func (w *passWriter) slot(own string, k int) string { return named(own, w.f.Vars[k].Name) }

// vectorLoop updates 16 bytes of each slot at a time.
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
	address := func(k int) string { return w.reg("b64", w.slot("address", k)) }
	for _, k := range w.slots {
		w.op("mad.lo.u64 %s, %%element, %d, %%%s", address(k), w.size, w.slot("at", k))
	}
	reg := func(k, lane int) string { return w.reg(w.typ, w.slot(fmt.Sprintf("in_%d", lane), k)) }
	each := func(of func(lane int) string) string {
		if n == 1 {
			return of(0)
		}
		var all []string
		for lane := range n {
			all = append(all, of(lane))
		}
		return "{" + strings.Join(all, ", ") + "}"
	}
	v := ""
	if n > 1 {
		v = fmt.Sprintf(".v%d", n)
	}
	for _, k := range w.loads {
		w.op("ld.global%s.%s %s, [%s]", v, w.typ, each(func(lane int) string { return reg(k, lane) }), address(k))
	}
	if w.traffic {
		w.trafficStores(v, n, each, reg, address)
		return
	}
	lanes := make([]*graph, n)
	for lane := range n {
		g := w.g.copy(fmt.Sprintf("_%d", lane))
		for _, k := range w.loads {
			g.set(k, reg(k, lane))
		}
		g.run(func(ir.Value) bool { return true })
		lanes[lane] = g
	}
	for _, s := range w.f.Stores {
		w.op("st.global%s.%s [%s], %s", v, w.typ, address(s.Var), each(func(lane int) string { return lanes[lane].at[s.Value] }))
	}
}

// trafficStores stores back what was loaded. What is loaded and not stored would be dropped by the compiler, if it were not
// stored under a condition that never holds and that it cannot know. What is stored and not loaded becomes 0: a tensor's table must
// have other memory for it.
func (w *passWriter) trafficStores(v string, n int, each func(func(int) string) string, reg func(k, lane int) string, address func(int) string) {
	for _, k := range w.stores {
		if !slices.Contains(w.loads, k) {
			for lane := range n {
				w.op("mov.%s %s, %s", w.typ, reg(k, lane), imm(w.typ, 0))
			}
		}
		w.op("st.global%s.%s [%s], %s", v, w.typ, address(k), each(func(lane int) string { return reg(k, lane) }))
	}
	for _, k := range w.loads {
		if !slices.Contains(w.stores, k) {
			w.op("@%%is_never st.global%s.%s [%s], %s", v, w.typ, address(k), each(func(lane int) string { return reg(k, lane) }))
		}
	}
}
