package kernels

import (
	_ "embed"
	"slices"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed control.go
var controlSource string

// controlled is a graph that makes out.Norm, with Control behind it. Its fields of bank ControlBank are the words of Step.Control.
func controlled(norm *ir.Func) *ir.Func {
	control := must(rule.Function(Control, controlSource))
	vars := slices.Clone(norm.Vars)
	measured := slices.IndexFunc(vars, func(v ir.Field) bool { return v.Name == "out.Norm" })
	vars[measured] = ir.Field{Bank: ControlBank, Index: controlMeasured, Name: "control.in.Measured"}
	word := make([]int, len(control.Vars)) // of Control's fields, among vars
	for i, v := range control.Vars {
		if word[i] = measured; v.Name != "in.Measured" {
			word[i] = len(vars)
			index := v.Index
			if v.Bank == 0 {
				index += ControlState
			}
			vars = append(vars, ir.Field{Bank: ControlBank, Index: index, Name: "control." + v.Name})
		}
	}
	b := ir.NewBuilder(norm.Name, 64, vars)
	final := make([]ir.Value, len(vars))
	for i := range vars {
		final[i] = b.Var(i)
	}
	copy(final, b.Inline(norm, final[:len(norm.Vars)]))
	entry := make([]ir.Value, len(word))
	for i, v := range word {
		entry[i] = final[v]
	}
	for i, x := range b.Inline(control, entry) {
		final[word[i]] = x
	}
	return b.Func(final)
}
