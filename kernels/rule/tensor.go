package rule

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/fusestep/fusestep/kernels/internal/syntax"
)

// TensorField is a number that each tensor has, or with Rule.Everything all of them together: a field of a rule's tensor struct. One that is neither filled,
// nor kept, nor the count is computed by a tensor function in each step.
type TensorField struct {
	Name  string
	Fill  Fill   // what elements fill it with
	State string // its state tag: the name of what is kept from step to step. It starts at 0.
	Count bool   // it is the number of the tensor's elements
}

// Fill is what becomes of the terms that elements fill a number with. A term is a number of the rule's type, widened to float64. Terms are
// taken in the order of the fixed tree over the tensor's elements.
type Fill uint8

const (
	NoFill      Fill = iota
	FillSum          // their sum
	FillSquares      // the sum of their squares, which are taken in float64
	FillMean         // their sum, divided by the number of the tensor's elements
	FillMax          // the largest one; NaN if one is
)

// fills are the fill tags.
var fills = []string{FillSum: "sum", FillSquares: "squares", FillMean: "mean", FillMax: "max"}

func (f Fill) String() string { return fills[f] }

// onlyTag is the value of a tag that is nothing but the key and the value.
func onlyTag(tag reflect.StructTag, key string) (string, bool) {
	v, ok := tag.Lookup(key)
	return v, ok && string(tag) == fmt.Sprintf("%s:%q", key, v)
}

// fillOf reads the kind in a tag.
func fillOf(d Domain, f syntax.BankField, tag, kind string) (Fill, error) {
	if i := slices.Index(fills, kind); i > int(NoFill) {
		return Fill(i), nil
	}
	return NoFill, wrong(f.Pos, "%s field %s has the %s tag %q, must be one of %q", d, f.Name, tag, kind, fills[1:])
}

// describeTensor reads the tags of the tensor struct.
func (r *Rule) describeTensor(bank *syntax.Bank) error {
	for _, f := range bank.Fields {
		t := TensorField{Name: f.Name}
		kind, ok := onlyTag(f.Tag, "fill")
		if all, of := onlyTag(f.Tag, "all"); of {
			kind, ok, r.Everything = all, true, true
		}
		if ok {
			var err error
			if t.Fill, err = fillOf(OfTensor, f, "fill", kind); err != nil {
				return err
			}
		} else if name, ok := onlyTag(f.Tag, "state"); ok && name != "" {
			if slices.Contains(r.Slots, name) {
				return wrong(f.Pos, "tensor field %s has the state tag %q, which is an element's slot", f.Name, name)
			}
			if name == StepCounter || slices.ContainsFunc(r.Counters, func(c Counter) bool { return c.Name == name }) {
				return wrong(f.Pos, "tensor field %s has the state tag %q, which is a counter's: counters and state of a tensor stand side by side", f.Name, name)
			}
			if i := slices.IndexFunc(r.Tensor, func(o TensorField) bool { return o.State == name }); i >= 0 {
				return wrong(f.Pos, "tensor field %s has the state tag %q, which field %s has", f.Name, name, r.Tensor[i].Name)
			}
			t.State = name
		} else if of, ok := onlyTag(f.Tag, "count"); ok && of == "elements" {
			t.Count = true
		} else if f.Tag != "" {
			return wrong(f.Pos, "tensor field %s has the tag %q, must have none or one of `fill:\"%s\"`, `all:\"%s\"`, `state:\"name\"` and `count:\"elements\"`",
				f.Name, f.Tag, fills[FillSum], fills[FillSum])
		}
		r.Tensor = append(r.Tensor, t)
	}
	for i, f := range bank.Fields {
		switch _, own := f.Tag.Lookup("fill"); {
		case !r.Everything:
		case own:
			return wrong(f.Pos, "tensor field %s has the tag %q beside fields with all tags: elements fill numbers of each tensor, or of all tensors", f.Name, f.Tag)
		case r.Tensor[i].Count || r.Tensor[i].Fill == FillMean:
			return wrong(f.Pos, "tensor field %s has the tag %q, but all tensors together have no count of elements: fill a sum with 1", f.Name, f.Tag)
		}
	}
	return nil
}

// checkEverything says whether the functions are such as the tensor struct asks for.
func (r *Rule) checkEverything() error {
	for i := range r.functions {
		f := &r.functions[i]
		if f.same == nil && f.domain == OfTensor { // it was read, and is what its struct says
			f.all = r.Everything
		}
		switch pos := f.source.Pos; {
		case f.domain == OfTensor && f.all && !r.Everything:
			return wrong(pos, "%s is a function of everything, but no field of its struct has an all tag, such as `all:\"%s\"`", f.name, fills[FillSum])
		case f.domain == OfTensor && !f.all && r.Everything:
			return wrong(pos, "%s is a tensor function, but fields of its struct have all tags: it is one for All", f.name)
		case r.Everything && (f.domain == OfRows || f.domain == OfColumns || len(f.banks) == len(matrixBanks)):
			return wrong(pos, "%s is of rows or columns: a rule whose tensors have numbers together has none", f.name)
		}
	}
	return nil
}

// restrict says what a function that runs over a domain may do with each field of its tensor struct: a tensor function computes and keeps, and others
// fill.
func (r *Rule) restrict(over Domain, bank *syntax.Bank) {
	tensors := over == OfTensor
	for i, t := range r.Tensor {
		f := &bank.Fields[i]
		switch f.Mode = syntax.Read; {
		case t.Count:
			f.Why = "the number of elements: nothing is stored to it"
		case t.Fill != NoFill && tensors:
			f.Why = "filled by elements: a tensor function only reads it"
		case t.Fill != NoFill:
			f.Mode, f.Why = syntax.Term, "a term of the "+over.String()+": what all terms make is read by tensor functions"
		case tensors:
			f.Mode = syntax.ReadWrite
		case t.State != "":
			f.Why = "state of the tensor: tensor functions store it"
		default:
			f.Why = "no term of the " + over.String() + ", as it has no fill tag: tensor functions compute it"
		}
	}
}
