package ptx

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// PrologueParams are the parameters of a prologue, which runs one thread a group:
//
//	inputs   per group, float64: what GroupInputs writes
//	states   per group: the address of the prologue's state
//	scalars  as UpdateParams
//	norm     the address of the gradient norm, or 0
var PrologueParams = []string{"u64 inputs", "u64 states", "u64 scalars", "u64 norm", "u64 groups"}

// InputWords is the number of float64 that a group has in a prologue's inputs.
func InputWords(r *rule.Rule) int { return len(r.Hyper) + len(own) }

// own are the fields of kernels.SharedIn that stand in the inputs after the hyperparameters, in order.
var own = []string{"Scale", "MaxNorm", "DecoupledDecay", "WeightDecay", "L1"}

// GroupInputs writes the inputs of a group: the hyperparameters, and then what own names.
func GroupInputs(to []float64, g kernels.GroupStep, maxNorm float64) {
	n := copy(to, g.Hyper)
	copy(to[n:], []float64{g.Scale, maxNorm, g.DecoupledDecay, g.WeightDecay, g.L1})
}

func prologue(name string, p kernels.Program, f *ir.Func) string {
	w := &writer{}
	w.params(PrologueParams...)
	for _, r := range []string{"inputs", "states", "scalars"} {
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

	r := p.Rule
	scalars, size := len(r.Scalars)+kernels.SharedScalars, p.DType.Size()
	w.op("mad.lo.u64 %%inputs, %%group, %d, %%inputs", InputWords(r)*word)
	w.op("mad.lo.u64 %%states, %%group, %d, %%states", word)
	w.op("ld.global.u64 %s, [%%states]", w.reg("b64", "state"))
	w.op("cvta.to.global.u64 %%state, %%state")
	w.op("mad.lo.u64 %%scalars, %%group, %d, %%scalars", scalars*size)
	store := func(i int, value string) {
		if size == 4 {
			rounded := w.reg("f32", fmt.Sprintf("rounded_%d", i))
			w.op("cvt.rn.f32.f64 %s, %s", rounded, value)
			value = rounded
		}
		w.op("st.global.f%d [%%scalars+%d], %s", 8*size, i*size, value)
	}

	w.comment("%s", r.Name+"'s prologue")
	g := w.graph(f)
	for _, v := range f.Loads() {
		field := f.Vars[v]
		from := map[int]string{rule.HyperBank: "inputs", rule.StateBank: "state"}[field.Bank]
		x := w.reg("f64", strings.ReplaceAll(field.Name, ".", "_"))
		w.op("ld.global.f64 %s, [%%%s+%d]", x, from, field.Index*word)
		g.set(v, x)
	}
	g.run(func(ir.Value) bool { return true })
	for _, s := range f.Stores {
		field := f.Vars[s.Var]
		if field.Bank == rule.StateBank {
			w.op("st.global.f64 [%%state+%d], %s", field.Index*word, g.at[s.Value])
		} else {
			store(field.Index, g.at[s.Value])
		}
	}

	w.comment("the scalars that every program has")
	shared := kernels.SharedGraph()
	q := w.graph(shared)
	q.suffix = "_shared"
	at := func(field string) int {
		if field == "LR" {
			return r.HyperIndex("LR") * word
		}
		return (len(r.Hyper) + slices.Index(own, field)) * word
	}
	for _, v := range shared.Loads() {
		name := shared.Vars[v].Name
		x := w.reg("f64", strings.ReplaceAll(name, ".", "_"))
		switch field := strings.TrimPrefix(name, "in."); field {
		case "Norm":
			w.op("mov.f64 %s, %s", x, imm("f64", 0))
		case "MaxNorm":
			w.op("mov.f64 %s, %s", x, imm("f64", math.Inf(1)))
		default:
			w.op("ld.global.f64 %s, [%%inputs+%d]", x, at(field))
		}
		q.set(v, x)
	}
	w.op("setp.eq.u64 %s, %%norm, 0", w.reg("pred", "no_norm"))
	w.op("@%%no_norm bra NO_NORM")
	w.op("cvta.to.global.u64 %%norm, %%norm")
	w.op("ld.global.f64 %%in_Norm, [%%norm]")
	w.op("ld.global.f64 %%in_MaxNorm, [%%inputs+%d]", at("MaxNorm"))
	w.label("NO_NORM")
	q.run(func(ir.Value) bool { return true })
	for _, s := range shared.Stores {
		store(len(r.Scalars)+shared.Vars[s.Var].Index, q.at[s.Value])
	}
	w.label("END")
	w.op("ret")
	return w.entry(name, PrologueParams...)
}
