package ptx

import (
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
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
	for _, r := range []string{"tid", "ntid", "ctaid"} {
		w.op("mov.u32 %s, %%%s.x", w.reg("b32", r+"32"), r)
	}
	w.op("mad.lo.u32 %%tid32, %%ctaid32, %%ntid32, %%tid32")
	w.op("cvt.u64.u32 %s, %%tid32", w.reg("b64", "group"))
	w.op("setp.ge.u64 %s, %%group, %%groups", w.reg("pred", "done"))
	w.op("@%%done bra END")

	size := p.Compute.Size()
	w.op("mad.lo.u64 %%inputs, %%group, %d, %%inputs", p.Inputs()*word)
	w.op("mad.lo.u64 %%counters, %%group, %d, %%counters", word)
	w.op("ld.global.u64 %s, [%%counters]", w.reg("b64", "counter"))
	w.op("cvta.to.global.u64 %%counter, %%counter")
	w.op("mad.lo.u64 %%scalars, %%group, %d, %%scalars", p.NumScalars()*size)
	from := map[int]string{kernels.InputBank: "inputs", kernels.CounterBank: "counter", kernels.ControlBank: "control"}

	f := p.Scalars
	if slices.ContainsFunc(f.Stores, func(s ir.Store) bool { return f.Vars[s.Var].Bank == kernels.CounterBank }) {
		skip(w)
	}
	w.comment("%s's scalars, and those that every program has", p.Rule.Name)
	g := w.graph(f)
	for _, v := range f.Loads() {
		field := f.Vars[v]
		x := w.reg("f64", named("in", field.Name))
		w.op("ld.global.f64 %s, [%%%s+%d]", x, from[field.Bank], field.Index*word)
		g.set(v, x)
	}
	g.run(func(ir.Value) bool { return true })
	for _, s := range f.Stores {
		field, value := f.Vars[s.Var], g.at[s.Value]
		switch {
		case field.Bank == kernels.CounterBank:
			w.op("@!%%is_skipped st.global.f64 [%%counter+%d], %s", field.Index*word, value)
			continue
		case size == 4:
			rounded := w.reg("f32", fmt.Sprintf("rounded_%d", field.Index))
			w.op("cvt.rn.f32.f64 %s, %s", rounded, value)
			value = rounded
		}
		w.op("st.global.f%d [%%scalars+%d], %s", 8*size, field.Index*size, value)
	}
	w.label("END")
	w.op("ret")
	return w.entry(name, PrologueParams...)
}

// skip computes in %is_skipped whether the step is skipped, of which all threads read one word.
func skip(w *writer) {
	w.comment("%s: the step is skipped", kernels.SkipField)
	w.op("ld.global.f64 %s, [%%control+%d]", w.reg("f64", "skipped"), kernels.ControlSkip*word)
	w.op("setp.eq.f64 %s, %%skipped, %s", w.reg("pred", "is_skipped"), imm("f64", 1))
}
