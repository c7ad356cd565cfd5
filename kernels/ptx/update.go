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
//	tensor  group, then the address of each plane: the fields of bank rule.ElemBank; and then, if the graph asks for an element's
//	        index, the tensor's: kernels.Tensor.Index; and then, if tensors have scalars to themselves, the address of kernels.Tensor.Sums,
//	        and room for these, a word each, where the tensors' kernel writes them, rounded to the graph's width
//	scalars per group: what kernels.Program.Scalars computes, each rounded to the graph's width
const (
	ChunkWords = 3
	word       = 8
)

// GraphParams are the parameters of the kernels of a graph alone. UpdateParams are those of an update: the words of kernels.Step.Control say
// whether it is skipped. TrafficParams are those of the traffic kernel; never is 0, which the compiler cannot know: see trafficStores.
var (
	GraphParams   = []string{"u64 chunks", "u64 chunk_count", "u64 tensors", "u64 scalars"}
	UpdateParams  = append(slices.Clone(GraphParams), "u64 control")
	TrafficParams = append(slices.Clone(GraphParams), "u64 never")
)

// Module is the text of a program's kernels and their names.
type Module struct {
	Text                      string
	Update, Prologue, Traffic string
	Tensors                   string // the kernel between Prologue and Update; "" where tensors have no scalars to themselves
	Indexed                   bool   // a tensor's word behind its planes is its index
	Never                     bool   // the traffic kernel has the last of TrafficParams
}

// Hints are cache operators of PTX for the loads and stores of elements, such as cs: streaming. Where one is empty, the GPU chooses. They change
// no bit.
type Hints struct{ Load, Store string }

// The hints that there are. For what they mean see PTX's ld and st.
var (
	LoadHints  = []string{"", "ca", "cg", "cs"}
	StoreHints = []string{"", "wb", "cg", "cs", "wt"}
)

// hinted is an operation with its hint.
func hinted(op, hint string) string {
	if hint == "" {
		return op
	}
	return op + "." + hint
}

// New writes a program.
func New(p *kernels.Program) *Module { return Hints{}.New(p) }

// New writes a program with the hints.
func (h Hints) New(p *kernels.Program) *Module {
	if len(p.Passes) != 1 || p.Rule.Tensor != nil {
		panic("ptx: " + p.String() + " has tensor functions")
	}
	f := p.Passes[0].Graph
	name := strings.ToLower(strings.Join(append([]string{p.Rule.Name}, p.Variant()...), "_"))
	name = fmt.Sprintf("%s_f%d", name, f.Width)
	if p.Formats != "" {
		name += "_" + strings.NewReplacer("=", "_", " ", "_", "/", "_", "+", "_").Replace(p.Formats)
	}
	name = mangle(name)
	m := module(name, f)
	m.Prologue = name + "_prologue"
	m.Text = fmt.Sprintf("// %s: written by fusestep from the rule's Go source.\n", ascii(p.String())) + header +
		pass(m.Update, UpdateParams, f, h, len(p.Rule.Scalars), p.NumScalars(), p.Zeroed()...) + prologue(m.Prologue, p) +
		pass(m.Traffic, TrafficParams, f, h, len(p.Rule.Scalars), p.NumScalars())
	if p.Passes[0].Tensor != nil {
		m.Tensors = name + "_tensors"
		m.Text += tensors(m.Tensors, p)
	}
	return m
}

// OfGraph writes the kernels of a graph alone, which has no prologue: a group has so many scalars in all, of which the first are the rule's
// and the others are of bank rule.SharedBank.
func OfGraph(name string, f *ir.Func, rules, all int) *Module {
	m := module(name, f)
	m.Text = fmt.Sprintf("// %s: written by fusestep.\n", ascii(name)) + header + pass(m.Update, GraphParams, f, Hints{}, rules, all) +
		pass(m.Traffic, TrafficParams, f, Hints{}, rules, all)
	return m
}

// module is all of a graph's module but its text.
func module(name string, f *ir.Func) *Module {
	return &Module{Update: name + "_update", Traffic: name + "_traffic", Indexed: indexed(f), Never: onlyReads(f)}
}

// indexed says whether a graph asks for an element's index.
func indexed(f *ir.Func) bool {
	return slices.ContainsFunc(f.Nodes, func(n ir.Node) bool { return n.Op == ir.Element })
}

// tensorFields is how many fields of bank rule.TensorBank a graph has.
func tensorFields(f *ir.Func) (n int) {
	for _, v := range f.Vars {
		if v.Bank == rule.TensorBank {
			n++
		}
	}
	return n
}

// tensorWords is how many words a tensor has.
func tensorWords(f *ir.Func) int {
	n := 1 + len(planes(f))
	if indexed(f) {
		n++
	}
	if own := tensorFields(f); own > 0 {
		n += 1 + own
	}
	return n
}
