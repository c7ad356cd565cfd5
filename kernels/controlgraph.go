package kernels

import (
	_ "embed"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed control.go
var controlSource string

// controlled is a graph that makes out.Norm, with Control behind it. Its fields of bank ControlBank are the words of Step.Control.
func controlled(norm *ir.Func) *ir.Func {
	control, err := rule.Function(Control, controlSource)
	if err != nil {
		panic(err)
	}
	var vars []ir.Field
	at := make([]int, len(norm.Vars)) // of the norm's fields
	measured := -1
	for i, v := range norm.Vars {
		if at[i] = len(vars); v.Name == "out.Norm" {
			measured, v = i, ir.Field{Bank: ControlBank, Index: controlMeasured, Name: "control.Measured"}
		}
		vars = append(vars, v)
	}
	word := make([]int, len(control.Vars)) // of Control's fields
	for i, v := range control.Vars {
		if word[i] = at[measured]; v.Name != "in.Measured" {
			word[i] = len(vars)
			bank, name, _ := strings.Cut(v.Name, ".")
			index := v.Index
			if bank == "in" {
				index += ControlState
			}
			vars = append(vars, ir.Field{Bank: ControlBank, Index: index, Name: map[string]string{"in": "control.", "out": "next."}[bank] + name})
		}
	}
	b := ir.NewBuilder(norm.Name, 64, vars)
	final := make([]ir.Value, len(vars))
	for i := range vars {
		final[i] = b.Var(i)
	}
	inline := func(f *ir.Func, at []int) {
		entry := make([]ir.Value, len(at))
		for i, v := range at {
			entry[i] = final[v]
		}
		for i, x := range b.Inline(f, entry) {
			final[at[i]] = x
		}
	}
	inline(norm, at)
	inline(control, word)
	return b.Func(final)
}
