package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels/internal/syntax"
)

// Domain is what a function of a rule runs over, and what a number belongs to. Rows and columns are those of a tensor's matrix view.
type Domain uint8

const (
	OfElements Domain = iota
	OfRows
	OfColumns
	OfTensor
)

var domains = []string{OfElements: "element", OfRows: "row", OfColumns: "column", OfTensor: "tensor"}

func (d Domain) String() string { return domains[d] }

// DomainField is a number that each row of a matrix has, or each column: a field of a rule's row or column struct. One that is neither filled
// nor kept is computed in each step, by a function of its domain.
type DomainField struct {
	Name string
	Fill Fill   // what elements fill it with
	Slot string // its slot tag: the name of what is kept from step to step. It starts at 0.
	// Rows is of a column, by its rows tag: what becomes of number Row of Rule.Row, of all rows of the column's matrix.
	Rows Fill
	Row  int
}

// Matrix is the option that the tensor sets: it is on where the tensor has a matrix view.
const Matrix = "Matrix"

// MatrixOption is the bit of the option Matrix; 0 where the rule has none.
func (r *Rule) MatrixOption() uint64 {
	if i := slices.Index(r.Options, Matrix); i >= 0 {
		return 1 << i
	}
	return 0
}

// Fields are the numbers of a row or a column.
func (r *Rule) Fields(d Domain) []DomainField {
	switch d {
	case OfRows:
		return r.Row
	case OfColumns:
		return r.Column
	}
	return nil
}

// describeMatrix reads the tags of the row struct or the column struct.
func (r *Rule) describeMatrix(d Domain, bank *syntax.Bank) ([]DomainField, error) {
	var out []DomainField
	for _, f := range bank.Fields {
		to := DomainField{Name: f.Name}
		if kind, ok := onlyTag(f.Tag, "fill"); ok {
			var err error
			if to.Fill, err = fillOf(d, f, "fill", kind); err != nil {
				return nil, err
			}
		} else if name, ok := onlyTag(f.Tag, "slot"); ok && name != "" {
			if owner := r.owner(name); owner != "" {
				return nil, wrong(f.Pos, "%s field %s has the slot tag %q, which is %s", d, f.Name, name, owner)
			}
			if i := slices.IndexFunc(out, func(o DomainField) bool { return o.Slot == name }); i >= 0 {
				return nil, wrong(f.Pos, "%s field %s has the slot tag %q, which field %s has", d, f.Name, name, out[i].Name)
			}
			to.Slot = name
		} else if of, ok := onlyTag(f.Tag, "rows"); ok && d == OfColumns {
			var err error
			if to.Rows, to.Row, err = r.rowsTag(f, of); err != nil {
				return nil, err
			}
		} else if f.Tag != "" {
			also := ""
			if d == OfColumns {
				also = fmt.Sprintf(" and `rows:\"%s Field\"`", FillMean)
			}
			return nil, wrong(f.Pos, "%s field %s has the tag %q, must have none or one of `fill:\"%s\"` and `slot:\"name\"`%s", d, f.Name, f.Tag, FillSum, also)
		}
		out = append(out, to)
	}
	if len(out) > 0 && r.MatrixOption() == 0 {
		return nil, wrong(bank.Pos, "the options have no field %s: a rule that has numbers of each %s says with it what a tensor without rows does without them", Matrix, d)
	}
	return out, nil
}

// rowsTag reads a rows tag: what becomes of the rows' numbers, and which number that is.
func (r *Rule) rowsTag(f syntax.BankField, tag string) (kind Fill, row int, err error) {
	what, name, _ := strings.Cut(tag, " ")
	if kind, err = fillOf(OfColumns, f, "rows", what); err != nil {
		return NoFill, 0, err
	}
	if row = slices.IndexFunc(r.Row, func(o DomainField) bool { return o.Name == name }); row < 0 {
		return NoFill, 0, wrong(f.Pos, "column field %s has the rows tag %q, but the row struct has no field %q", f.Name, tag, name)
	}
	return kind, row, nil
}

// owner says whose state has the name; "" where none has.
func (r *Rule) owner(name string) string {
	switch is := func(o DomainField) bool { return o.Slot == name }; {
	case slices.Contains(r.Slots, name):
		return "an element's slot"
	case slices.ContainsFunc(r.Tensor, func(t TensorField) bool { return t.State == name }):
		return "a tensor's state"
	case slices.ContainsFunc(r.Row, is):
		return "a row's slot"
	case slices.ContainsFunc(r.Column, is):
		return "a column's slot"
	}
	return ""
}

// restrictMatrix says what a function that runs over a domain may do with each field of its row or column struct.
func (r *Rule) restrictMatrix(over, of Domain, bank *syntax.Bank) {
	for i, t := range r.Fields(of) {
		f := &bank.Fields[i]
		switch f.Mode = syntax.Read; {
		case t.Rows != NoFill:
			f.Why = fmt.Sprintf("made of field %s of the rows: nothing is stored to it", r.Row[t.Row].Name)
		case over == of && t.Fill != NoFill:
			f.Why = fmt.Sprintf("filled by elements: a %s function only reads it", of)
		case over == of:
			f.Mode = syntax.ReadWrite
		case t.Fill != NoFill:
			f.Mode, f.Why = syntax.Term, fmt.Sprintf("a term of the element: what all terms of a %s make is read by %s functions", of, of)
		case t.Slot != "":
			f.Why = fmt.Sprintf("state of the %s: %s functions store it", of, of)
		default:
			f.Why = fmt.Sprintf("no term of the element, as it has no fill tag: %s functions compute it", of)
		}
	}
}
