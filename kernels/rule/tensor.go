package rule

import (
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/kernels/internal/syntax"
)

// TensorField is a number that each tensor has: a field of a rule's tensor struct. One that is neither filled, nor kept, nor the count is
// computed by a tensor function in each step.
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

// describeTensor reads the tags of the tensor struct.
func (r *Rule) describeTensor(bank *syntax.Bank) error {
	for _, f := range bank.Fields {
		t := TensorField{Name: f.Name}
		value := func(key string) (string, bool) {
			v, ok := f.Tag.Lookup(key)
			return v, ok && string(f.Tag) == fmt.Sprintf("%s:%q", key, v)
		}
		if kind, ok := value("fill"); ok {
			if i := slices.Index(fills, kind); i > int(NoFill) {
				t.Fill = Fill(i)
			} else {
				return wrong(f.Pos, "tensor field %s has the fill tag %q, must be one of %q", f.Name, kind, fills[1:])
			}
		} else if name, ok := value("state"); ok && name != "" {
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
		} else if of, ok := value("count"); ok && of == "elements" {
			t.Count = true
		} else if f.Tag != "" {
			return wrong(f.Pos, "tensor field %s has the tag %q, must have none or one of `fill:\"%s\"`, `state:\"name\"` and `count:\"elements\"`",
				f.Name, f.Tag, fills[FillSum])
		}
		r.Tensor = append(r.Tensor, t)
	}
	return nil
}

// restrict says what a function may do with each field of its tensor struct: an element function fills, and a tensor function computes and keeps.
func (r *Rule) restrict(bank *syntax.Bank, tensors bool) {
	for i, t := range r.Tensor {
		f := &bank.Fields[i]
		switch f.Mode = syntax.Read; {
		case t.Count:
			f.Why = "the number of elements: nothing is stored to it"
		case t.Fill != NoFill && tensors:
			f.Why = "filled by elements: a tensor function only reads it"
		case t.Fill != NoFill:
			f.Mode, f.Why = syntax.Term, "a term of the element: what all terms make is read by tensor functions"
		case tensors:
			f.Mode = syntax.ReadWrite
		case t.State != "":
			f.Why = "state of the tensor: tensor functions store it"
		default:
			f.Why = "no term of the element, as it has no fill tag: tensor functions compute it"
		}
	}
}
