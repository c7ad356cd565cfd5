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
	last := r.elements(r.Stages - 1)
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
	if last.alone {
		return nil
	}
	if err := r.describeTensor(last.bank(TensorBank)); err != nil {
		return err
	}
	for i := range r.functions {
		f := &r.functions[i]
		r.restrict(f.bank(TensorBank), f.tensors)
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
	last := r.elements(r.Stages - 1)
	for i := range r.functions {
		f := &r.functions[i]
		if !slices.Equal(f.source.Options, r.Options) {
			return wrong(f.source.Pos, "%s has the options %q, but %s has %q", f.name, f.source.Options, r.Name, r.Options)
		}
		for _, bank := range []int{ElemBank, ScalarsBank, TensorBank} {
			if a, b := f.bank(bank), last.bank(bank); a != nil && b != nil && a.Pos != b.Pos {
				return wrong(a.Pos, "parameter %s of %s is another struct than parameter %s of %s", a.Param, f.name, b.Param, r.Name)
			}
		}
	}
	return nil
}
