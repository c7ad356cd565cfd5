package optim

import (
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// lineDomains are the domains of param.lines, in order.
var lineDomains = []rule.Domain{rule.OfRows, rule.OfColumns}

// newLines is room for what a rule's rows and columns have, and what SetAdaptiveClip adds.
func newLines(r *rule.Rule) (out [2][]*device.Buffer) {
	r = r.WithAdaptiveClip()
	for i, d := range lineDomains {
		out[i] = make([]*device.Buffer, len(r.Fields(d)))
	}
	return out
}

// line is where the tensor has the buffer of a field of its rows or columns.
func (p *param) line(d rule.Domain, field int) **device.Buffer {
	return &p.lines[slices.Index(lineDomains, d)][field]
}

// elementsOf is the product of the axes, if it is a number of elements.
func elementsOf(shape []int) (n int, ok bool) {
	n = 1
	for _, k := range shape {
		if k < 0 || k > 0 && n > math.MaxInt/k {
			return 0, false
		}
		n *= k
	}
	return n, true
}

// view is a tensor's matrix view: all rows, and how many matrices these are of. Both are 0 of no elements and of no matrix.
type view struct{ rows, matrices int }

// matrixOf is the matrix view of a tensor of n elements for a rule, by what its Param says, and whether it has one. For a rule without numbers of rows
// the rows are the units of SetAdaptiveClip. A rule without numbers of columns sees one matrix.
func matrixOf(r *rule.Rule, shape []int, rows, matrices, n int) (v view, matrix bool, err error) {
	if shape != nil {
		if k, ok := elementsOf(shape); !ok || k != n {
			return v, false, &ShapeError{Shape: slices.Clone(shape), Elements: n}
		}
	}
	v, matrix = view{rows, max(matrices, 1)}, rows != 0 || len(shape) > 1
	switch {
	case rows < 0 || rows > 0 && n%rows != 0:
		return v, false, &ShapeError{Shape: slices.Clone(shape), Rows: rows, Elements: n}
	case n == 0 || rows == 0 && !matrix:
		v = view{}
	case rows == 0 && r.MatrixOption() == 0:
		v.rows = shape[0]
	case rows == 0:
		v.rows = n / shape[len(shape)-1]
		if matrices == 0 && len(r.Column) > 0 {
			v.matrices = v.rows / shape[len(shape)-2]
		}
	}
	if matrices < 0 || matrices > 0 && v.rows%matrices != 0 {
		return v, false, &ShapeError{Shape: slices.Clone(shape), Rows: v.rows, Matrices: matrices, Elements: n}
	}
	return v, matrix, nil
}

// setView finds the tensor's matrix view. The shape becomes our copy.
func (p *param) setView() (err error) {
	if p.view, p.matrix, err = matrixOf(p.group.setting.Rule, p.Shape, p.Rows, p.Matrices, p.n); err != nil {
		return p.fail(err)
	}
	p.Shape = slices.Clone(p.Shape)
	return nil
}

// shape is the tensor's, of one axis where nobody says.
func (p *param) shape() []int {
	if p.Shape == nil {
		return []int{p.n}
	}
	return slices.Clone(p.Shape)
}

// numbers is how many elements, rows or columns the tensor has.
func (p *param) numbers(d rule.Domain) int { return p.view.numbers(d, p.n) }

// numbers is how many elements, rows or columns a tensor of n elements has.
func (v view) numbers(d rule.Domain, n int) int { return kernels.Numbers(d, n, v.rows, v.matrices) }

// lineSlots names what the group's tensors may have as state of rows and columns.
func (g *group) lineSlots() (names []string) {
	for _, d := range lineDomains {
		for _, f := range g.setting.Rule.Fields(d) {
			if f.Slot != "" {
				names = append(names, f.Slot)
			}
		}
	}
	return names
}

// whole is the state that is not of elements: what rows, columns and the tensor have.
func (p *param) whole() (out []tensorState) {
	for _, d := range lineDomains {
		for i, f := range p.group.setting.Rule.Fields(d) {
			if b := *p.line(d, i); b != nil && f.Slot != "" {
				out = append(out, tensorState{d, f.Slot, b})
			}
		}
	}
	return append(out, p.tensorState...)
}
