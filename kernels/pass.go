package kernels

import (
	"cmp"
	"slices"

	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Pass is a Map stage of an update: what becomes of an element, or of a row or a column.
type Pass struct {
	Domain rule.Domain // what it runs over: elements, rows or columns
	Stage  int         // of the rule's function: see rule.Rule.Function
	ByRows bool        // its elements are those of matrices, row by row: see Tensor.Rows
	// Graph's first fields are all the program's planes, by index, also those that this pass leaves alone. They are of bank rule.ElemBank but, in a
	// pass over elements, those of rows, of bank rule.RowBank, and of columns, of bank rule.ColumnBank. The fields of banks
	// rule.ScalarsBank and rule.SharedBank are what Program.Scalars computes, and those of bank rule.TensorBank are the rule's tensor
	// fields, in order, and then, with rule.ClipTensorNorm, GradScale.
	Graph         *ir.Func
	Loads, Stores []int // planes that Graph reads, and writes. Stores are all of the pass's domain: what is filled is in Fills.
	// Numbers is Graph between decoding and encoding: its fields of bank rule.ElemBank are the slots, by index, as numbers. Where each slot
	// holds the number itself, it is Graph.
	Numbers *ir.Func
	// Uniforms are the nodes of Graph that are the same for all elements of a tensor and that others use: what a loop over elements is given,
	// in this order. Varying says of each node whether it is none of these. A field of bank rule.RowBank is among them: it is the same for a row's
	// elements. No other node that depends on it is.
	Uniforms []ir.Value
	Varying  []bool
	Around   rule.Around // what of Spec.Around is done in this pass: a rule.Pass's
	// Tensor is the Scalars stage over OneTensor before this pass; nil where there is none. Of a rule with Rule.Everything it is over Everything, and is
	// given the group of the first tensor that takes the step. It reads and writes words of Tensor.Sums, bank
	// SumsBank. What it makes in bank OutputsBank are numbers that elements see from this pass on, by the indices of bank rule.TensorBank, each
	// to be rounded to the type that the program computes with. Bank rule.ScalarsBank are the rule's scalars of the group, so rounded. Its other
	// banks are those of Program.Scalars.
	Tensor *ir.Func
	// Fills are the sums that the pass makes of terms of its elements, rows or columns: each a Reduce over OneTensor, OneRow or OneColumn behind it.
	// Of a rule with Rule.Everything those over OneTensor are over Everything: by the tree over all tensors' tiles, tensor after tensor.
	Fills []Fill
	// Folds are, of a pass over columns, what it reads that is made of numbers of rows: each a Reduce over OneMatrix before it.
	Folds []Fold

	outputs []tensorOutput // of Tensor, the rule's
}

// Fill is a sum over a tensor's elements, or over its rows or columns, or over those of a row or a column: see FillTree. Or it is another result of that
// kind.
type Fill struct {
	Var    int         // the field of Graph that an element stores its term to
	Domain rule.Domain // what has the sum: rule.OfTensor, or of a pass over elements rule.OfRows or rule.OfColumns
	Field  int         // which of Rule.Tensor, Rule.Row or Rule.Column that is
	Kind   rule.Fill   // what becomes of the terms
	Word   int         // of a tensor: the word of Tensor.Sums that gets it; of a mean it gets the sum, which Tensor divides
	Plane  int         // of a row or a column: the plane that gets it, rounded once to the type that the program computes with; of a mean, divided before
}

// Fold is a number of a matrix, made of a number of each of its rows, which all its columns get: by FillTile, as one tile of any length. It is rounded once
// to the type that the program computes with; a mean is divided before.
type Fold struct {
	Kind     rule.Fill
	From, To int // planes: of rows, and of columns
}

// Partials is how many float64s the passes' fills come to, before they are added up, of a tensor of n elements that has so many rows of so many
// matrices: one of each tile of a tensor or row, and of each block of a column's rows. A GPU has memory for all of them, and a CPU for those of one
// pass.
func (p *Program) Partials(n, rows, matrices int) (count int) {
	tiles := func(n, length int) int { return (n + length - 1) / length }
	for _, q := range p.Passes {
		for _, f := range q.Fills {
			switch {
			case f.Domain == rule.OfColumns:
				count += Numbers(rule.OfColumns, n, rows, matrices) * tiles(rows/max(matrices, 1), ColumnRows)
			case q.ByRows:
				count += rows * tiles(n/max(rows, 1), NormTile)
			default:
				count += tiles(Numbers(q.Domain, n, rows, matrices), NormTile)
			}
		}
	}
	return count
}

// slotKey is a field of a rule's element, row or column struct.
type slotKey struct {
	rule.Domain
	index int
}

// keyOf is the slot that a field of a rule's function is; not ok of a field that is none.
func keyOf(f ir.Field) (key slotKey, ok bool) {
	switch f.Bank {
	case rule.ElemBank:
		return slotKey{rule.OfElements, f.Index}, true
	case rule.RowBank:
		return slotKey{rule.OfRows, f.Index}, true
	case rule.ColumnBank:
		return slotKey{rule.OfColumns, f.Index}, true
	}
	return key, false
}

// rowsOf is what a column's field is made of where rows' numbers make it.
func (p *Program) rowsOf(key slotKey) (from slotKey, ok bool) {
	if key.Domain != rule.OfColumns {
		return from, false
	}
	f := p.Rule.Column[key.index]
	return slotKey{rule.OfRows, f.Row}, f.Rows != rule.NoFill
}

// bankOf is the bank that slots and planes of a domain have in a pass over a domain.
func bankOf(over, of rule.Domain) int {
	switch {
	case of == over || of == rule.OfElements:
		return rule.ElemBank
	case of == rule.OfRows:
		return rule.RowBank
	}
	return rule.ColumnBank
}

// use finds the slots that the passes' graphs use, and makes each pass's Numbers of its graph.
func (p *Program) use(graphs []*ir.Func, formats []*format.Format) {
	loads, stores, names := map[slotKey]bool{}, map[slotKey]bool{}, map[slotKey]string{}
	for _, f := range graphs {
		load, store := touched(f)
		for v, field := range f.Vars {
			if key, ok := keyOf(field); ok {
				loads[key], stores[key] = loads[key] || load[v], stores[key] || store[v]
				if names[key] == "" {
					names[key] = field.Name
				}
				if from, ok := p.rowsOf(key); ok && load[v] {
					loads[from] = true
					names[from] = cmp.Or(names[from], "r."+p.Rule.Row[from.index].Name)
				}
			}
		}
	}
	at := map[slotKey]int{}                         // the slot that each becomes
	number, _ := format.Plain(p.Compute, p.Compute) // there is one of each type that is computed with
	add := func(key slotKey, name string, role Role, of *format.Format) {
		if loads[key] || stores[key] {
			at[key] = len(p.Slots)
			p.Slots = append(p.Slots, Slot{Name: name, Domain: key.Domain, Index: key.index, Role: role, Format: of})
		}
	}
	for i, name := range p.SlotNames() {
		key := slotKey{rule.OfElements, i}
		add(key, name, p.role(name, stores[key]), formats[i])
	}
	for _, d := range []rule.Domain{rule.OfRows, rule.OfColumns} {
		for i, f := range p.Rule.Fields(d) {
			name, role := f.Slot, State
			if name == "" {
				name, role = d.String()+"."+f.Name, Scratch
			}
			add(slotKey{d, i}, name, role, number)
		}
	}
	for i, f := range graphs {
		p.Passes[i].Numbers = p.numbers(f, p.Passes[i].Domain, at, names)
	}
}

// numbers is a graph of a pass over a domain whose first fields are the program's slots.
func (p *Program) numbers(f *ir.Func, over rule.Domain, slots map[slotKey]int, names map[slotKey]string) *ir.Func {
	var vars []ir.Field
	for i, s := range p.Slots {
		vars = append(vars, ir.Field{Bank: bankOf(over, s.Domain), Index: i, Name: names[slotKey{s.Domain, s.Index}]})
	}
	at := make([]int, len(f.Vars)) // -1 of a slot that is not used
	for v, field := range f.Vars {
		if key, ok := keyOf(field); !ok {
			at[v] = len(vars)
			vars = append(vars, field)
		} else if slot, ok := slots[key]; ok {
			at[v], vars[slot].Name = slot, field.Name
		} else {
			at[v] = -1
		}
	}
	b := ir.NewBuilder(f.Name, f.Width, vars)
	entry, final := make([]ir.Value, len(f.Vars)), make([]ir.Value, len(vars))
	for v := range vars {
		final[v] = b.Var(v)
	}
	for v, to := range at {
		if to >= 0 {
			entry[v] = final[to]
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
			planes = append(planes, ir.Field{Index: len(p.Planes), Name: name, Type: plane.Type})
			p.Planes = append(p.Planes, Plane{Slot: i, Name: plane.Name, Domain: slot.Domain, DType: plane.DType})
		}
	}
	for i := range p.Passes {
		q := &p.Passes[i]
		if q.Graph = q.Numbers; !same {
			vars := append(slices.Clone(planes), q.Numbers.Vars[len(p.Slots):]...)
			for k := range planes {
				vars[k].Bank = bankOf(q.Domain, p.Planes[k].Domain)
			}
			if p.noisy {
				for i, name := range noiseNames {
					vars = append(vars, ir.Field{Bank: rule.SharedBank, Index: len(sharedNames) + i, Name: name})
				}
			}
			q.Graph = p.formatted(q.Numbers, vars)
		}
		p.traffic(q)
		q.Varying = q.Graph.Varying(rule.ElemBank, rule.RowBank, rule.ColumnBank)
		for v, n := range q.Graph.Nodes {
			if n.Op == ir.Var && q.Graph.Vars[n.Index].Bank == rule.RowBank {
				q.Varying[v] = false
			}
		}
		q.Uniforms = q.Graph.Given(q.Varying)
	}
}

// traffic finds what a pass's graph does to which planes and sums.
func (p *Program) traffic(q *Pass) {
	loads, stores := touched(q.Graph)
	for k := range p.Planes {
		plane := &p.Planes[k]
		bytes := 0
		if plane.Domain == rule.OfElements {
			bytes = plane.DType.Size()
		}
		if loads[k] {
			q.Loads, plane.Load, p.Bytes = append(q.Loads, k), true, p.Bytes+bytes
			slot := p.Of(k)
			if from, ok := p.rowsOf(slotKey{slot.Domain, slot.Index}); ok {
				i := p.plane(from)
				q.Folds, p.Planes[i].Load, plane.Store = append(q.Folds, Fold{p.Rule.Column[slot.Index].Rows, i, k}), true, true
			}
		}
		if stores[k] && plane.Domain == q.Domain {
			q.Stores, plane.Store, p.Bytes = append(q.Stores, k), true, p.Bytes+bytes
		}
	}
	for _, s := range q.Graph.Stores {
		switch v := q.Graph.Vars[s.Var]; {
		case v.Bank == rule.TensorBank:
			q.Fills = append(q.Fills, Fill{Var: s.Var, Domain: rule.OfTensor, Field: v.Index, Kind: p.Rule.Tensor[v.Index].Fill, Word: p.TensorWord(v.Index)})
		case s.Var < len(p.Planes) && p.Planes[s.Var].Domain != q.Domain:
			p.Planes[s.Var].Store = true
			slot := p.Of(s.Var)
			q.Fills = append(q.Fills, Fill{Var: s.Var, Domain: slot.Domain, Field: slot.Index, Kind: p.Rule.Fields(slot.Domain)[slot.Index].Fill, Plane: s.Var})
		}
	}
}

// plane is the plane of a slot of rows or columns.
func (p *Program) plane(of slotKey) int {
	return p.Slots[slices.IndexFunc(p.Slots, func(s Slot) bool { return s.Domain == of.Domain && s.Index == of.index })].Plane
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

// RuleSlots are the slots of a pass's domain that its Numbers reads, and writes, by their Slot.Index: a rule.Pass's.
func (p *Program) RuleSlots(pass int) (loads, stores []int) {
	q := &p.Passes[pass]
	load, store := touched(q.Numbers)
	for i, s := range p.Slots {
		if s.Domain != q.Domain {
			continue
		}
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
// What it lacks is the memory of the slots that it loads and stores, and of the terms of Fills; and, of elements of a matrix, what rows and columns have.
func RulePass[F rule.Float](p *Program, pass int, scalars []F, own []float64) *rule.Pass[F] {
	q := &p.Passes[pass]
	rules, tensor := len(p.Rule.Scalars), len(p.Rule.Tensor)
	out := &rule.Pass[F]{Domain: q.Domain, Stage: q.Stage, Slots: make([][]F, len(p.SlotNames())), Scalars: scalars[:rules], Terms: make([][]F, tensor), Options: p.Options,
		Around: q.Around}
	out.Loads, out.Stores = p.RuleSlots(pass)
	for _, x := range own[:tensor] {
		out.Tensor = append(out.Tensor, F(x))
	}
	if q.Domain != rule.OfElements {
		out.Slots = make([][]F, len(p.Rule.Fields(q.Domain)))
		return out
	}
	rows, columns := len(p.Rule.Row), len(p.Rule.Column)
	out.Row, out.RowTerms, out.Columns, out.ColumnTerms = make([]F, rows), make([][]F, rows), make([][]F, columns), make([][]F, columns)
	if !p.Alone {
		shared := *rule.SharedOf(scalars[rules:])
		if p.clipsTensors() {
			shared.GradScale = F(own[tensor])
		}
		out.Shared = &shared
	}
	return out
}
