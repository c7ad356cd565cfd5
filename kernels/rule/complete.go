package rule

// complete checks what the functions read and store: for each set of options, and which fields of the tensor they have for any.
func (r *Rule) complete() error {
	ever := map[int]bool{}
	err := r.eachSet(func(set uint64) error {
		m := made{Rule: r, scalars: map[int]bool{}, filled: map[int]string{}, stored: map[int]bool{}}
		if err := m.all(set); err != nil {
			return err
		}
		for i := range r.Tensor {
			ever[i] = ever[i] || m.filled[i] != "" || m.stored[i]
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, t := range r.Tensor {
		pos := r.elements(0).bank(TensorBank).Fields[i].Pos
		switch {
		case ever[i]:
		case t.Fill != NoFill:
			return wrong(pos, "no element function fills tensor field %s", t.Name)
		case t.State != "":
			return wrong(pos, "no tensor function stores tensor field %s", t.Name)
		}
	}
	return nil
}

// made is what a rule's functions have made for one set of options, up to one of them.
type made struct {
	*Rule
	scalars map[int]bool   // that the prologue stores
	filled  map[int]string // of a tensor's fields, the element function that fills it
	stored  map[int]bool   // the tensor's fields that a tensor function stores
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
		if !f.tensors {
			if _, err := m.graph(f.source, 32, set, f.banks()); err != nil {
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
	g, err := m.graph(f.source, 64, set, f.banks())
	if err != nil {
		return err
	}
	for _, v := range g.Loads() {
		switch v := g.Vars[v]; v.Bank {
		case ScalarsBank:
			if !m.scalars[v.Index] {
				return wrong(f.bank(ScalarsBank).Fields[v.Index].Pos, "%s is read, but %s does not compute it", v.Name, m.prologue.Name)
			}
		case TensorBank:
			t, pos := m.Tensor[v.Index], f.bank(TensorBank).Fields[v.Index].Pos
			switch {
			case t.Fill != NoFill && m.filled[v.Index] == "":
				return wrong(pos, "%s is read by %s, but no element function before it fills it", v.Name, f.name)
			case t.Fill == NoFill && t.State == "" && !t.Count && !m.stored[v.Index]:
				return wrong(pos, "%s is read by %s, but no tensor function has computed it on every path", v.Name, f.name)
			}
		}
	}
	last, slots := f == m.elements(m.Stages-1), map[string]bool{}
	for _, s := range g.Stores {
		switch v := g.Vars[s.Var]; {
		case v.Bank == ElemBank:
			slots[m.Slots[v.Index]] = true
		case f.tensors:
			m.stored[v.Index] = true
		case last:
			return wrong(f.source.Pos, "%s is filled by %s, the last element function, behind which nothing reads it", v.Name, f.name)
		case m.filled[v.Index] != "":
			return wrong(f.source.Pos, "%s is filled by %s and by %s", v.Name, m.filled[v.Index], f.name)
		default:
			m.filled[v.Index] = f.name
		}
	}
	switch pos := f.source.Pos; {
	case f.tensors:
	case last && !slots[Param]:
		return wrong(pos, "slot %q is not stored: the rule changes nothing", Param)
	case !last && slots[Param]:
		return wrong(pos, "slot %q is stored by %s: only the last element function stores it", Param, f.name)
	case slots[Grad]:
		return wrong(pos, "slot %q is stored: a rule reads the gradient only", Grad)
	case len(g.Stores) == 0:
		return wrong(pos, "the element function %s stores nothing", f.name)
	}
	return nil
}
