package ptx

import (
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// PrologueParams are the parameters of a prologue, which computes the scalars of a group in each of its threads:
//
//	inputs   per group, float64: what kernels.GroupStep.Inputs writes
//	counters per group: the address of the prologue's counters
//	scalars  as UpdateParams
//	control  the words of kernels.Step.Control. A step that is skipped does not store counters.
var PrologueParams = []string{"u64 inputs", "u64 counters", "u64 scalars", "u64 control", "u64 groups"}

func prologue(name string, p *kernels.Program) string {
	w := &writer{}
	w.params(PrologueParams...)
	for _, r := range []string{"inputs", "counters", "scalars", "control"} {
		w.op("cvta.to.global.u64 %%%s, %%%s", r, r)
	}
	w.comment("one group a thread")
	threadOf(w, "group", "groups")

	size := p.Compute.Size()
	w.op("mad.lo.u64 %%inputs, %%group, %d, %%inputs", p.Inputs()*word)
	w.op("mad.lo.u64 %%counters, %%group, %d, %%counters", word)
	w.op("ld.global.u64 %s, [%%counters]", w.reg("b64", "counter"))
	w.op("cvta.to.global.u64 %%counter, %%counter")
	w.op("mad.lo.u64 %%scalars, %%group, %d, %%scalars", p.NumScalars()*size)

	f := p.Scalars
	if slices.ContainsFunc(f.Stores, func(s ir.Store) bool { return f.Vars[s.Var].Bank == kernels.CounterBank }) {
		skip(w)
	}
	w.comment("%s's scalars, and those that every program has", p.Rule.Name)
	g := w.graph(f)
	g.load(map[int]string{kernels.InputBank: "inputs", kernels.CounterBank: "counter", kernels.ControlBank: "control"})
	g.run(func(ir.Value) bool { return true })
	for _, s := range f.Stores {
		field, value := f.Vars[s.Var], g.at[s.Value]
		if field.Bank == kernels.CounterBank {
			w.op("@!%%is_skipped st.global.f64 [%%counter+%d], %s", field.Index*word, value)
			continue
		}
		w.op("st.global.f%d [%%scalars+%d], %s", 8*size, field.Index*size, w.rounded(value, field.Index, size))
	}
	w.label("END")
	w.op("ret")
	return w.entry(name, PrologueParams...)
}

// TensorsParams are the parameters of the kernel that computes the scalars of a tensor in each of its threads, before a pass: they are those of
// PrologueParams.
var TensorsParams = []string{"u64 inputs", "u64 scalars", "u64 control", "u64 tensors", "u64 tensor_count"}

func tensors(name string, p *kernels.Program, f *ir.Func, l layout) string {
	w := &writer{}
	uses := func(bank int) bool {
		return slices.ContainsFunc(f.Loads(), func(v int) bool { return f.Vars[v].Bank == bank })
	}
	unused := map[string]bool{"u64 inputs": !uses(kernels.InputBank), "u64 scalars": !uses(rule.ScalarsBank)}
	used := slices.DeleteFunc(slices.Clone(TensorsParams), func(p string) bool { return unused[p] })
	w.params(used...)
	skipped(w, used)
	w.comment("one tensor a thread")
	threadOf(w, "tensor", "tensor_count")
	size := p.Compute.Size()
	w.op("cvta.to.global.u64 %%tensors, %%tensors")
	w.op("mad.lo.u64 %%tensors, %%tensor, %d, %%tensors", l.words()*word)
	w.op("ld.global.u64 %s, [%%tensors+%d]", w.reg("b64", "sums"), l.sumsAt()*word)
	w.op("cvta.to.global.u64 %%sums, %%sums")
	ofGroup := func(r string, bytes int) {
		if slices.Contains(used, "u64 "+r) {
			w.op("cvta.to.global.u64 %%%s, %%%s", r, r)
			w.op("ld.global.u64 %s, [%%tensors]", w.reg("b64", "group"))
			w.op("mad.lo.u64 %%%s, %%group, %d, %%%s", r, bytes, r)
		}
	}
	ofGroup("inputs", p.Inputs()*word)
	ofGroup("scalars", l.scalars*size)
	g := w.graph(f)
	g.load(map[int]string{kernels.InputBank: "inputs", kernels.ControlBank: "control", kernels.SumsBank: "sums"})
	for _, v := range f.Loads() {
		if field := f.Vars[v]; field.Bank == rule.ScalarsBank {
			x := w.reg(fmt.Sprintf("f%d", 8*size), named("in", field.Name))
			w.op("ld.global.f%d %s, [%%scalars+%d]", 8*size, x, field.Index*size)
			if size == 4 {
				wide := w.reg("f64", named("wide", field.Name))
				w.op("cvt.f64.f32 %s, %s", wide, x)
				x = wide
			}
			g.set(v, x)
		}
	}
	g.run(func(ir.Value) bool { return true })
	for _, s := range f.Stores {
		field, value := f.Vars[s.Var], g.at[s.Value]
		if field.Bank == kernels.SumsBank {
			w.op("st.global.f64 [%%sums+%d], %s", field.Index*word, value)
			continue
		}
		w.op("st.global.f%d [%%tensors+%d], %s", 8*size, (l.ownAt()+field.Index)*word, w.rounded(value, field.Index, size))
	}
	w.label("END")
	w.op("ret")
	return w.entry(name, TensorsParams...)
}

// SpreadParams are the parameters of the kernel that gives each tensor but the first, a thread each, what the tensors' kernel has made of the first: scalars
// that all tensors have together.
var SpreadParams = []string{"u64 control", "u64 tensors", "u64 tensor_count"}

func spread(name string, p *kernels.Program, f *ir.Func, l layout) string {
	w := &writer{}
	w.params(SpreadParams...)
	skipped(w, SpreadParams)
	w.comment("one tensor a thread")
	threadOf(w, "tensor", "tensor_count")
	w.op("setp.eq.u64 %s, %%tensor, 0", w.reg("pred", "is_first"))
	w.op("@%%is_first bra END")
	w.op("cvta.to.global.u64 %%tensors, %%tensors")
	w.op("mad.lo.u64 %s, %%tensor, %d, %%tensors", w.reg("b64", "own"), l.words()*word)
	bits := 8 * p.Compute.Size()
	for _, s := range f.Stores {
		if field := f.Vars[s.Var]; field.Bank == kernels.OutputsBank {
			x, at := w.reg(fmt.Sprintf("f%d", bits), named("of", field.Name)), (l.ownAt()+field.Index)*word
			w.op("ld.global.f%d %s, [%%tensors+%d]", bits, x, at)
			w.op("st.global.f%d [%%own+%d], %s", bits, at, x)
		}
	}
	w.label("END")
	w.op("ret")
	return w.entry(name, SpreadParams...)
}

// threadOf computes in a register the thread's number in the grid, and goes to END from a count on.
func threadOf(w *writer, number, count string) {
	for _, r := range []string{"tid", "ntid", "ctaid"} {
		w.op("mov.u32 %s, %%%s.x", w.reg("b32", r+"32"), r)
	}
	w.op("mad.lo.u32 %%tid32, %%ctaid32, %%ntid32, %%tid32")
	w.op("cvt.u64.u32 %s, %%tid32", w.reg("b64", number))
	w.op("setp.ge.u64 %s, %%%s, %%%s", w.reg("pred", "done"), number, count)
	w.op("@%%done bra END")
}

// load loads the fields that a graph of float64 reads, of banks whose addresses are in registers.
func (g *graph) load(from map[int]string) {
	for _, v := range g.f.Loads() {
		field := g.f.Vars[v]
		if at := from[field.Bank]; at != "" {
			x := g.reg("f64", named("in", field.Name))
			g.op("ld.global.f64 %s, [%%%s+%d]", x, at, field.Index*word)
			g.set(v, x)
		}
	}
}

// rounded is scalar i, rounded to the bytes that the program computes with.
func (w *writer) rounded(value string, i, size int) string {
	if size == 8 {
		return value
	}
	r := w.reg("f32", fmt.Sprintf("rounded_%d", i))
	w.op("cvt.rn.f32.f64 %s, %s", r, value)
	return r
}

// skipped ends the kernel where the step is skipped, if it has the parameter that says so.
func skipped(w *writer, params []string) {
	if slices.Contains(params, "u64 control") {
		w.op("cvta.to.global.u64 %%control, %%control")
		skip(w)
		w.op("@%%is_skipped bra END")
	}
}

// skip computes in %is_skipped whether the step is skipped, of which all threads read one word.
func skip(w *writer) {
	w.comment("%s: the step is skipped", kernels.SkipField)
	w.op("ld.global.f64 %s, [%%control+%d]", w.reg("f64", "skipped"), kernels.ControlSkip*word)
	w.op("setp.eq.f64 %s, %%skipped, %s", w.reg("pred", "is_skipped"), imm("f64", 1))
}
