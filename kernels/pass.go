package kernels

import (
	"slices"

	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Pass is a Map stage of an update: what becomes of an element.
type Pass struct {
	// Graph's fields of bank rule.ElemBank are all the program's planes, by index, also those that this pass leaves alone; those of banks
	// rule.ScalarsBank and rule.SharedBank are what Program.Scalars computes, and those of bank rule.TensorBank are the rule's tensor
	// fields, in order, and then, with rule.ClipTensorNorm, GradScale.
	Graph         *ir.Func
	Loads, Stores []int // planes that Graph reads, and writes
	// Numbers is Graph between decoding and encoding: its fields of bank rule.ElemBank are the slots, by index, as numbers. Where each slot
	// holds the number itself, it is Graph.
	Numbers *ir.Func
	// Uniforms are the nodes of Graph that are the same for all elements of a tensor and that others use: what a loop over elements is given,
	// in this order. Varying says of each node whether it is none of these.
	Uniforms []ir.Value
	Varying  []bool
	Around   rule.Around // what of Spec.Around is done in this pass: a rule.Pass's
	// Tensor is the Scalars stage over OneTensor before this pass; nil where there is none. It reads and writes words of Tensor.Sums, bank
	// SumsBank. What it makes in bank OutputsBank are numbers that elements see from this pass on, by the indices of bank rule.TensorBank, each
	// to be rounded to the type that the program computes with. Bank rule.ScalarsBank are the rule's scalars of the group, so rounded. Its other
	// banks are those of Program.Scalars.
	Tensor *ir.Func
	// Fills are the sums that the pass makes of terms of its elements: each a Reduce over OneTensor behind it.
	Fills []Fill

	outputs []int // of Tensor, the rule's
}

// Fill is a sum over a tensor's elements, or another result of that kind, by FillTile and FillTree.
type Fill struct {
	Var   int       // the field of Graph, of bank rule.TensorBank, that an element stores its term to
	Field int       // which of Rule.Tensor that is
	Kind  rule.Fill // what becomes of the terms; of a mean the sum, which Tensor divides
	Word  int       // of Tensor.Sums, that gets it
}

// use finds the slots that graphs use, whose first fields are all slots, and makes each pass's Numbers of its graph.
func (p *Program) use(graphs []*ir.Func, formats []*format.Format) {
	names := p.SlotNames()
	loads, stores := make([]bool, len(names)), make([]bool, len(names))
	for _, f := range graphs {
		load, store := touched(f)
		for i := range names {
			loads[i], stores[i] = loads[i] || load[i], stores[i] || store[i]
		}
	}
	at := make([]int, len(names)) // the field that each slot becomes; -1 of one that is not used
	for i, name := range names {
		if at[i] = -1; loads[i] || stores[i] {
			at[i] = len(p.Slots)
			p.Slots = append(p.Slots, Slot{Name: name, Index: i, Role: p.role(name, stores[i]), Format: formats[i]})
		}
	}
	for i, f := range graphs {
		p.Passes[i].Numbers = p.numbers(f, at)
	}
}

// numbers is a graph without the slots that the program does not use.
func (p *Program) numbers(f *ir.Func, slots []int) *ir.Func {
	var vars []ir.Field
	at := make([]int, len(f.Vars))
	for v, field := range f.Vars {
		if field.Bank == rule.ElemBank {
			if at[v] = slots[field.Index]; at[v] < 0 {
				continue
			}
			field.Index = at[v]
		}
		at[v] = len(vars)
		vars = append(vars, field)
	}
	b := ir.NewBuilder(f.Name, f.Width, vars)
	entry, final := make([]ir.Value, len(f.Vars)), make([]ir.Value, len(vars))
	for v, to := range at {
		if to >= 0 {
			entry[v], final[to] = b.Var(to), b.Var(to)
		}
	}
	for v, x := range b.Inline(f, entry) {
		if at[v] >= 0 {
			final[at[v]] = x
		}
	}
	return b.Func(final)
}

// touched says which fields a graph reads and which it writes.
func touched(f *ir.Func) (loads, stores []bool) {
	loads, stores = make([]bool, len(f.Vars)), make([]bool, len(f.Vars))
	for _, v := range f.Loads() {
		loads[v] = true
	}
	for _, s := range f.Stores {
		stores[s.Var] = true
	}
	return loads, stores
}

// format puts the slots' formats around each pass's Numbers, and finds what the graph that this makes does to which planes.
func (p *Program) format() {
	var planes []ir.Field
	same := true
	for i := range p.Slots {
		slot := &p.Slots[i]
		slot.Plane, same = len(p.Planes), same && slot.Format.Identity()
		for _, plane := range slot.Format.Planes() {
			name := p.Passes[0].Numbers.Vars[i].Name
			if plane.Name != "" {
				name += "." + plane.Name
			}
			planes = append(planes, ir.Field{Bank: rule.ElemBank, Index: len(p.Planes), Name: name, Type: plane.Type})
			p.Planes = append(p.Planes, Plane{Slot: i, Name: plane.Name, DType: plane.DType})
		}
	}
	for i := range p.Passes {
		q := &p.Passes[i]
		if q.Graph = q.Numbers; !same {
			vars := append(slices.Clip(planes), q.Numbers.Vars[len(p.Slots):]...)
			if p.noisy {
				for i, name := range noiseNames {
					vars = append(vars, ir.Field{Bank: rule.SharedBank, Index: len(sharedNames) + i, Name: name})
				}
			}
			q.Graph = p.formatted(q.Numbers, vars)
		}
		loads, stores := touched(q.Graph)
		for k := range p.Planes {
			plane := &p.Planes[k]
			if loads[k] {
				q.Loads, plane.Load, p.Bytes = append(q.Loads, k), true, p.Bytes+plane.DType.Size()
			}
			if stores[k] {
				q.Stores, plane.Store, p.Bytes = append(q.Stores, k), true, p.Bytes+plane.DType.Size()
			}
		}
		for _, s := range q.Graph.Stores {
			if v := q.Graph.Vars[s.Var]; v.Bank == rule.TensorBank {
				q.Fills = append(q.Fills, Fill{s.Var, v.Index, p.Rule.Tensor[v.Index].Fill, ruleWords + v.Index})
			}
		}
		q.Uniforms, q.Varying = q.Graph.Uniforms(rule.ElemBank), q.Graph.Varying(rule.ElemBank)
	}
}

// formatted is a pass's Numbers between decoding and encoding, over fields that are the planes and then the scalars.
func (p *Program) formatted(f *ir.Func, vars []ir.Field) *ir.Func {
	b := ir.NewBuilder(f.Name, f.Width, vars)
	final := make([]ir.Value, len(vars))
	for v := range vars {
		final[v] = b.Var(v)
	}
	entry := make([]ir.Value, len(f.Vars))
	for i, slot := range p.Slots {
		entry[i] = slot.Format.Decode(b, final[slot.Plane:][:slot.Format.NumPlanes()])
		b.Label(entry[i], f.Vars[i].Name)
	}
	for i := len(p.Slots); i < len(entry); i++ {
		entry[i] = final[len(p.Planes)+i-len(p.Slots)]
	}
	_, stores := touched(f)
	for i, x := range b.Inline(f, entry) {
		switch {
		case i >= len(p.Slots):
			final[len(p.Planes)+i-len(p.Slots)] = x
		case stores[i]:
			slot := &p.Slots[i]
			var noise ir.Value
			if slot.Format.Noisy() {
				noise = format.Noise(b, final[len(vars)-format.NumNoise:], slot.Index)
			}
			copy(final[slot.Plane:], slot.Format.Encode(b, x, noise))
		}
	}
	return b.Func(final)
}

// RuleSlots are the slots that a pass's Numbers reads, and writes, by their indices in SlotNames: a rule.Pass's.
func (p *Program) RuleSlots(pass int) (loads, stores []int) {
	load, store := touched(p.Passes[pass].Numbers)
	for i, s := range p.Slots {
		if load[i] {
			loads = append(loads, s.Index)
		}
		if store[i] {
			stores = append(stores, s.Index)
		}
	}
	return loads, stores
}

// RulePass is a pass by the rule's compiled function: scalars are the group's, rounded, and own those that the tensor has to itself, by RunTensorScalars.
// What it lacks is the memory of the slots that it loads and stores, and of the terms of Fills.
func RulePass[F rule.Float](p *Program, pass int, scalars []F, own []float64) *rule.Pass[F] {
	rules, tensor := len(p.Rule.Scalars), len(p.Rule.Tensor)
	out := &rule.Pass[F]{Stage: pass, Slots: make([][]F, len(p.SlotNames())), Scalars: scalars[:rules], Terms: make([][]F, tensor), Options: p.Options,
		Around: p.Passes[pass].Around}
	out.Loads, out.Stores = p.RuleSlots(pass)
	for _, x := range own[:tensor] {
		out.Tensor = append(out.Tensor, F(x))
	}
	if !p.Alone {
		shared := *rule.SharedOf(scalars[rules:])
		if p.clipsTensors() {
			shared.GradScale = F(own[tensor])
		}
		out.Shared = &shared
	}
	return out
}
