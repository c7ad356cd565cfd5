package ptx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
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
