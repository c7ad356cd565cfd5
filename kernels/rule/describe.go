package rule

import (
	"fmt"
	"go/token"
	"slices"
	"strconv"

	"github.com/fusestep/fusestep/kernels/ir"
)

// wrong is a place of the source that is not a rule's.
func wrong(at token.Position, format string, args ...any) error {
	return &Error{Pos: at, Msg: fmt.Sprintf(format, args...)}
}

// describe fills in the names that the banks' fields and tags give.
func (r *Rule) describe() error {
	elem, scalars, hyper, counters := r.elem.Banks[0], r.elem.Banks[1], r.prologue.Banks[0], r.prologue.Banks[1]
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
	r.Options = r.elem.Options
	return r.together()
}

// together checks that the two functions are of one rule. New's types say so; Read has none.
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
	return nil
}

// complete checks, for a set of options, that the prologue stores every scalar that the element function reads, that the parameter
// is stored, and that the gradient is not.
func (r *Rule) complete(set uint64) error {
	if _, err := r.Element(32, set); err != nil {
		return err
	}
	elem, err := r.Element(64, set)
	if err != nil {
		return err
	}
	pro, err := r.Prologue(set)
	if err != nil {
		return err
	}
	stored := map[int]bool{}
	for _, s := range pro.Stores {
		if f := pro.Vars[s.Var]; f.Bank == OutputsBank {
			stored[f.Index] = true
		}
	}
	for _, v := range elem.Loads() {
		if f := elem.Vars[v]; f.Bank == ScalarsBank && !stored[f.Index] {
			return wrong(r.elem.Banks[1].Fields[f.Index].Pos, "%s is read, but %s does not compute it", f.Name, pro.Name)
		}
	}
	stores := func(slot string) bool {
		return slices.ContainsFunc(elem.Stores, func(s ir.Store) bool { return s.Var == r.Slot(slot) })
	}
	if !stores(Param) {
		return wrong(r.elem.Pos, "slot %q is not stored: the rule changes nothing", Param)
	}
	if stores(Grad) {
		return wrong(r.elem.Pos, "slot %q is stored: a rule reads the gradient only", Grad)
	}
	return nil
}
