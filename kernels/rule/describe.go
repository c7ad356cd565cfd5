package rule

import (
	"fmt"
	"go/token"
	"slices"
	"strconv"
)

// wrong is a place of the source that is not a rule's.
func wrong(at token.Position, format string, args ...any) error {
	return &Error{Pos: at, Msg: fmt.Sprintf(format, args...)}
}

// describe fills in the names that the banks' fields and tags give.
func (r *Rule) describe() error {
	last := r.last()
	elem, scalars, hyper, counters := last.bank(ElemBank), last.bank(ScalarsBank), r.prologue.Banks[0], r.prologue.Banks[1]
	for _, f := range elem.Fields {
		slot := f.Tag.Get("slot")
		if slot == "" {
			return wrong(f.Pos, "element field %s has no slot tag, such as `slot:\"exp_avg\"`", f.Name)
		}
		if i := r.Slot(slot); i >= 0 {
			return wrong(f.Pos, "element field %s has the slot tag %q, which field %s has", f.Name, slot, elem.Fields[i].Name)
		}
		r.Slots = append(r.Slots, slot)
	}
	for _, slot := range []string{Param, Grad} {
		if r.Slot(slot) < 0 {
			return wrong(elem.Pos, "the element struct has no field with the tag `slot:%q`", slot)
		}
	}
	for _, f := range scalars.Fields {
		r.Scalars = append(r.Scalars, f.Name)
	}
	for _, f := range hyper.Fields {
		r.Hyper = append(r.Hyper, f.Name)
	}
	if r.HyperIndex("LR") < 0 {
		return wrong(hyper.Pos, "the hyperparameters have no field LR, the learning rate")
	}
	for _, f := range elem.Fields {
		start := -1
		if init, ok := f.Tag.Lookup("init"); ok {
			start = r.HyperIndex(init)
			if slot := f.Tag.Get("slot"); slot == Param || slot == Grad {
				return wrong(f.Pos, "element field %s has an init tag, but slot %q is given and not state", f.Name, slot)
			}
			if start < 0 {
				return wrong(f.Pos, "element field %s has the init tag %q, which is no hyperparameter: there are %q", f.Name, init, r.Hyper)
			}
		}
		r.Start = append(r.Start, start)
	}
	for _, f := range counters.Fields {
		s := Counter{Name: f.Tag.Get("counter")}
		if s.Name == "" {
			return wrong(f.Pos, "counter %s has no counter tag, such as `counter:\"step\"`", f.Name)
		}
		if i := slices.IndexFunc(r.Counters, func(o Counter) bool { return o.Name == s.Name }); i >= 0 {
			return wrong(f.Pos, "counter %s has the counter tag %q, which field %s has", f.Name, s.Name, counters.Fields[i].Name)
		}
		if init, ok := f.Tag.Lookup("init"); ok {
			x, err := strconv.ParseFloat(init, 64)
			if err != nil {
				return wrong(f.Pos, "counter %s has the init tag %q, which is not a number", f.Name, init)
			}
			s.Init = x
		}
		r.Counters = append(r.Counters, s)
	}
	r.Options = last.source.Options
	if err := r.together(); err != nil {
		return err
	}
	if bank, _ := r.bank(TensorBank); bank != nil {
		if err := r.describeTensor(bank); err != nil {
			return err
		}
	}
	var err error
	if bank, _ := r.bank(RowBank); bank != nil {
		if r.Row, err = r.describeMatrix(OfRows, bank); err != nil {
			return err
		}
	}
	if bank, _ := r.bank(ColumnBank); bank != nil {
		if r.Column, err = r.describeMatrix(OfColumns, bank); err != nil {
			return err
		}
	}
	if err := r.checkEverything(); err != nil {
		return err
	}
	for i := range r.functions {
		f := &r.functions[i]
		if bank := f.bank(TensorBank); bank != nil {
			r.restrict(f.domain, bank)
		}
		if bank := f.bank(RowBank); bank != nil {
			r.restrictMatrix(f.domain, OfRows, bank)
		}
		if bank := f.bank(ColumnBank); bank != nil {
			r.restrictMatrix(f.domain, OfColumns, bank)
		}
	}
	return nil
}

// together checks that the functions are of one rule. NewStaged's types say part of it; the source alone has none.
func (r *Rule) together() error {
	computed := r.prologue.Banks[2]
	names := make([]string, len(computed.Fields))
	for i, f := range computed.Fields {
		names[i] = f.Name
	}
	if !slices.Equal(names, r.Scalars) {
		return wrong(computed.Pos, "the prologue %s computes the scalars %q, but %s has %q", r.prologue.Name, names, r.Name, r.Scalars)
	}
	if !slices.Equal(r.prologue.Options, r.Options) {
		return wrong(r.prologue.Pos, "the prologue %s has the options %q, but %s has %q", r.prologue.Name, r.prologue.Options, r.Name, r.Options)
	}
	for i := range r.functions {
		f := &r.functions[i]
		if !slices.Equal(f.source.Options, r.Options) {
			return wrong(f.source.Pos, "%s has the options %q, but %s has %q", f.name, f.source.Options, r.Name, r.Options)
		}
		for _, bank := range f.banks {
			a := f.bank(bank)
			if b, other := r.bank(bank); a.Pos != b.Pos && len(a.Fields)+len(b.Fields) > 0 {
				return wrong(a.Pos, "parameter %s of %s is another struct than parameter %s of %s", a.Param, f.name, b.Param, other.name)
			}
		}
	}
	return nil
}
