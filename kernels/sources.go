package kernels

import (
	"fmt"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
)

// Source is a number that a scalar is made of.
type Source struct {
	Name  string
	Value float64
	At    *device.Buffer // where each launch reads it, a learning rate; else nil
}

// Same says whether two groups' sources are the same number in each step.
func (s Source) Same(o Source) bool {
	if s.At != nil && o.At != nil {
		return s.At.Addr() == o.At.Addr()
	}
	return s.At == o.At && s.Name == o.Name && math.Float64bits(s.Value) == math.Float64bits(o.Value)
}

func (s Source) String() string {
	if s.At != nil {
		return fmt.Sprintf("made of %s at %#x", s.Name, s.At.Addr())
	}
	return fmt.Sprintf("made of %s %v", s.Name, s.Value)
}

// Sources are the numbers that a scalar, by its index in Outputs, is made of in a group's step and in later ones of the same inputs, and whether one of them
// moves from step to step: a counter, which now is what counters says, or a learning rate on the device. What is not chosen in any of the steps is not among
// them, nor are the words of ControlBank, which are the same for all groups.
func (p *Program) Sources(g *GroupStep, counters []float64, output int) (out []Source, moves bool) {
	f, lr := p.Scalars, p.Rule.HyperIndex("LR")
	inputs, entry := make([]float64, p.Inputs()), make([]float64, len(f.Vars))
	p.WriteInputs(g, inputs)
	moving := make([]bool, len(f.Vars))
	for i, v := range f.Vars {
		switch v.Bank {
		case InputBank:
			entry[i], moving[i] = inputs[v.Index], g.LR != nil && v.Index == lr
		case CounterBank:
			entry[i], moving[i] = counters[v.Index], true
		case ControlBank:
			moving[i] = true
		}
	}
	after := slices.Clone(entry)
	e := ir.NewEvaluator[float64](f)
	e.Run(after)
	varies, used := make([]bool, len(f.Nodes)), make([]bool, len(f.Nodes))
	for i := range f.Nodes {
		n := &f.Nodes[i]
		varies[i] = n.Op == ir.Var && moving[n.Index] || slices.ContainsFunc(n.Args(), func(a ir.Value) bool { return varies[a] })
	}
	stored := map[int]ir.Value{}
	for _, s := range f.Stores {
		stored[s.Var] = s.Value
	}
	reached := make([]bool, len(f.Vars))
	var reach func(v ir.Value)
	reach = func(v ir.Value) {
		if used[v] {
			return
		}
		used[v] = true
		switch n := &f.Nodes[v]; {
		case n.Op == ir.Var:
			reached[n.Index] = true
			if next, ok := stored[n.Index]; ok && f.Vars[n.Index].Bank == CounterBank { // what it is in the next launch
				reach(next)
			}
		case n.Op == ir.Select && !varies[n.C] && e.Condition(n.C):
			reach(n.A)
		case n.Op == ir.Select && !varies[n.C]:
			reach(n.B)
		default:
			for _, a := range n.Args() {
				reach(a)
			}
		}
	}
	for i, v := range f.Vars {
		if value, ok := stored[i]; ok && v.Bank == OutputsBank && v.Index == output {
			reach(value)
		}
	}
	for i, v := range f.Vars {
		if reached[i] && v.Bank != ControlBank {
			s := Source{Name: v.Name, Value: entry[i]}
			if v.Bank == InputBank && moving[i] {
				s.Value, s.At = 0, g.LR
			}
			out, moves = append(out, s), moves || moving[i]
		}
	}
	return out, moves
}
