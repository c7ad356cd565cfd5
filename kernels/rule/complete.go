package rule

// complete checks what the functions read and store: for each set of options, and which fields of tensors, rows and columns they have for any.
func (r *Rule) complete() error {
	ever := map[field]bool{}
	err := r.eachSet(func(set uint64) error {
		m := made{Rule: r, scalars: map[int]bool{}, filled: map[field]string{}, stored: map[field]bool{}}
		if err := m.all(set); err != nil {
			return err
		}
		for f := range m.filled {
			ever[f] = true
		}
		for f := range m.stored {
			ever[f] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, bank := range []int{TensorBank, RowBank, ColumnBank} {
		in, _ := r.bank(bank)
		for i := range r.numFields(bank) {
			d, fill, state := r.field(field{bank, i})
			switch f := in.Fields[i]; {
			case ever[field{bank, i}]:
			case fill != NoFill:
				return wrong(f.Pos, "no element function fills %s field %s", d, f.Name)
			case state != "":
				return wrong(f.Pos, "no %s function stores %s field %s", d, d, f.Name)
			}
		}
	}
	return nil
}

// field is a field of the tensor, row or column struct, by bank and index.
type field struct{ bank, index int }

// numFields is how many the struct has.
func (r *Rule) numFields(bank int) int {
	return map[int]int{TensorBank: len(r.Tensor), RowBank: len(r.Row), ColumnBank: len(r.Column)}[bank]
}

// field is what a field is: of which domain, what fills it, and what it is kept as. A count is neither filled nor kept.
func (r *Rule) field(f field) (d Domain, fill Fill, state string) {
	switch f.bank {
	case RowBank:
		return OfRows, r.Row[f.index].Fill, r.Row[f.index].Slot
	case ColumnBank:
		return OfColumns, r.Column[f.index].Fill, r.Column[f.index].Slot
	}
	return OfTensor, r.Tensor[f.index].Fill, r.Tensor[f.index].State
}

// made is what a rule's functions have made for one set of options, up to one of them.
type made struct {
	*Rule
	scalars map[int]bool     // that the prologue stores
	filled  map[field]string // the function that fills it
	stored  map[field]bool   // that a function of its domain stores
}

// all checks every function, in order.
func (m *made) all(set uint64) error {
	pro, err := m.Prologue(set)
	if err != nil {
		return err
	}
	for _, s := range pro.Stores {
		if f := pro.Vars[s.Var]; f.Bank == OutputsBank {
			m.scalars[f.Index] = true
		}
	}
	for i := range m.functions {
		f := &m.functions[i]
		if !f.runs(m.Rule, set) {
			continue
		}
		if f.domain != OfTensor {
			if _, err := m.graph(f.source, 32, set, f.banks); err != nil {
				return err
			}
		}
		if err := m.function(f, set); err != nil {
			return err
		}
	}
	return nil
}

// function checks that what a function reads was computed before, and what it stores.
func (m *made) function(f *stageFunc, set uint64) error {
	g, err := m.graph(f.source, 64, set, f.banks)
	if err != nil {
		return err
	}
	for _, v := range g.Loads() {
		switch v, pos := g.Vars[v], f.bank(g.Vars[v].Bank).Fields[g.Vars[v].Index].Pos; v.Bank {
		case ElemBank:
		case ScalarsBank:
			if !m.scalars[v.Index] {
				return wrong(pos, "%s is read, but %s does not compute it", v.Name, m.prologue.Name)
			}
		default:
			at := field{v.Bank, v.Index}
			d, fill, state := m.field(at)
			count := d == OfTensor && m.Tensor[v.Index].Count
			name := v.Name
			if rows := d == OfColumns && m.Column[v.Index].Rows != NoFill; rows && f.domain == OfColumns {
				at = field{RowBank, m.Column[v.Index].Row}
				d, fill, state = m.field(at)
				name += ", which is made of " + m.Row[at.index].Name + " of the rows,"
			} else if rows && set&m.MatrixOption() != 0 {
				return wrong(pos, "%s is read by %s: only column functions read what is made of rows' numbers", v.Name, f.name)
			}
			switch {
			case d != OfTensor && set&m.MatrixOption() == 0:
				return wrong(pos, "%s is read by %s without the option %s", v.Name, f.name, Matrix)
			case fill != NoFill && m.filled[at] == "":
				return wrong(pos, "%s is read by %s, but no element function before it fills it", name, f.name)
			case fill == NoFill && state == "" && !count && !m.stored[at]:
				return wrong(pos, "%s is read by %s, but no %s function has computed it on every path", name, f.name, d)
			}
		}
	}
	last, slots := f == m.last(), map[string]bool{}
	for _, s := range g.Stores {
		v := g.Vars[s.Var]
		if v.Bank == ElemBank {
			slots[m.Slots[v.Index]] = true
			continue
		}
		at := field{v.Bank, v.Index}
		switch d, fill, _ := m.field(at); {
		case d != OfTensor && set&m.MatrixOption() == 0:
			return wrong(f.source.Pos, "%s is filled by %s without the option %s", v.Name, f.name, Matrix)
		case fill == NoFill:
			m.stored[at] = true
		case last:
			return wrong(f.source.Pos, "%s is filled by %s, the last element function, behind which nothing reads it", v.Name, f.name)
		case m.filled[at] != "":
			return wrong(f.source.Pos, "%s is filled by %s and by %s", v.Name, m.filled[at], f.name)
		default:
			m.filled[at] = f.name
		}
	}
	switch pos := f.source.Pos; {
	case f.domain == OfTensor:
	case last && !slots[Param]:
		return wrong(pos, "slot %q is not stored: the rule changes nothing", Param)
	case !last && slots[Param]:
		return wrong(pos, "slot %q is stored by %s: only the last element function stores it", Param, f.name)
	case slots[Grad]:
		return wrong(pos, "slot %q is stored: a rule reads the gradient only", Grad)
	case len(g.Stores) == 0:
		return wrong(pos, "the %s function %s stores nothing", f.domain, f.name)
	}
	return nil
}
