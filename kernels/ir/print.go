package ir

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// forms are how operations are written, by their operands A, B and C.
var forms = [...]string{
	Add: "%s + %s", Sub: "%s - %s", Mul: "%s * %s", Div: "%s / %s", Sqrt: "sqrt(%s)", Neg: "neg(%s)", Abs: "abs(%s)",
	Lt: "%s < %s", Le: "%s <= %s", Eq: "%s == %s", Ne: "%s != %s", And: "%s && %s", Or: "%s || %s", Not: "!%s", Select: "%[3]s ? %[1]s : %[2]s",
	FromBits: "frombits(%s)", ToBits: "tobits(%s)", FromHalf: "fromhalf(%s)", ToHalf: "tohalf(%s)",
	WAdd: "%s + %s", WSub: "%s - %s", WMul: "%s * %s", WMulHigh: "mulhigh(%s, %s)", WAnd: "%s & %s", WOr: "%s | %s", WXor: "%s ^ %s",
	WShl: "%s << %d", WShr: "%s >> %d", WRotl: "%s <<< %d", WLt: "%s < %s", WEq: "%s == %s",
}

// Text is the function for people, an operation a line, and then the stores. A node is called v and its Value; a field or a constant
// stands where it is used. Comments have the rule's variables, and the word uniform where varying, if it is not nil, says that a node is
// the same for all elements.
func (f *Func) Text(varying []bool) string {
	var lines [][2]string // and their comments
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Op.Arity() == 0 {
			continue
		}
		var args []any
		for _, a := range n.Args() {
			args = append(args, f.operand(a))
		}
		if n.Op == WShl || n.Op == WShr || n.Op == WRotl {
			args = append(args, n.Index)
		}
		var notes []string
		if varying != nil && !varying[i] {
			notes = append(notes, "uniform")
		}
		if f.Names[i] != "" {
			notes = append(notes, f.Names[i])
		}
		lines = append(lines, [2]string{fmt.Sprintf("v%d = ", i) + fmt.Sprintf(forms[n.Op], args...), strings.Join(notes, ": ")})
	}
	for _, s := range f.Stores {
		lines = append(lines, [2]string{f.Vars[s.Var].Name + " = " + f.operand(s.Value)})
	}
	return aligned(lines)
}

// aligned puts the comments of lines below each other.
func aligned(lines [][2]string) string {
	width := 0
	for _, l := range lines {
		width = max(width, len([]rune(l[0])))
	}
	var b strings.Builder
	for _, l := range lines {
		if l[1] == "" {
			fmt.Fprintln(&b, l[0])
		} else {
			fmt.Fprintf(&b, "%-*s  // %s\n", width, l[0], l[1])
		}
	}
	return b.String()
}

// operand is how an operation that uses a node writes it.
func (f *Func) operand(v Value) string {
	switch n := &f.Nodes[v]; n.Op {
	case Var:
		return f.Vars[n.Index].Name
	case Const:
		return strconv.FormatFloat(math.Float64frombits(n.Bits), 'g', -1, f.Width)
	case Bool:
		return strconv.FormatBool(n.Index == 1)
	case Word:
		return fmt.Sprintf("0x%08x", n.Bits)
	case Element:
		return [...]string{"index", "index.high"}[n.Index]
	}
	return fmt.Sprintf("v%d", v)
}
