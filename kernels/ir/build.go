package ir

import (
	"math"
	"slices"
)

// A Builder makes a Func. Equal nodes are made once. Conditions that are known are folded; numbers never are.
type Builder struct {
	f     Func
	seen  map[Node]Value
	fixed []bool // per node: see Fixed
}

// NewBuilder starts a function of the width over the fields.
func NewBuilder(name string, width int, vars []Field) *Builder {
	return &Builder{f: Func{Name: name, Width: width, Vars: vars}, seen: map[Node]Value{}}
}

// Len is the number of nodes so far.
func (b *Builder) Len() int { return len(b.f.Nodes) }

// IsBool says whether v is a truth value.
func (b *Builder) IsBool(v Value) bool { return b.f.IsBool(v) }

func (b *Builder) node(n Node) Value {
	if v, ok := b.seen[n]; ok {
		return v
	}
	v := Value(len(b.f.Nodes))
	b.f.Nodes = append(b.f.Nodes, n)
	b.f.Names = append(b.f.Names, "")
	b.fixed = append(b.fixed, b.fixes(&n))
	b.seen[n] = v
	return v
}

func (b *Builder) fixes(n *Node) bool {
	switch n.Op {
	case Var, Element:
		return false
	case Select:
		return b.fixed[n.A] || b.fixed[n.B]
	}
	return !slices.ContainsFunc(n.Args(), func(a Value) bool { return !b.fixed[a] })
}

// Fixed says whether v depends on no field, or is a choice by a condition and one side of it does not: a compiler may know its
// value, or what it is on that side.
func (b *Builder) Fixed(v Value) bool { return b.fixed[v] }

// Var is the value of field i on entry.
func (b *Builder) Var(i int) Value { return b.node(Node{Op: Var, Index: i}) }

// Const is a constant. At width 32, x must be a float32's value.
func (b *Builder) Const(x float64) Value { return b.node(Node{Op: Const, Bits: math.Float64bits(x)}) }

// Word is a constant word.
func (b *Builder) Word(x uint32) Value { return b.node(Node{Op: Word, Bits: uint64(x)}) }

// Element is the low word of the element's index, or the high one.
func (b *Builder) Element(high bool) Value {
	if high {
		return b.node(Node{Op: Element, Index: 1})
	}
	return b.node(Node{Op: Element})
}

// Shift makes a << by or a >> by, for op WShl or WShr, or rotates a, for WRotl.
func (b *Builder) Shift(op Op, a Value, by int) Value { return b.node(Node{Op: op, A: a, Index: by}) }

// SmallestNormal is the constant: 2⁻¹²⁶ at width 32, 2⁻¹⁰²² at 64.
func (b *Builder) SmallestNormal() Value {
	if b.f.Width == 32 {
		return b.Const(0x1p-126)
	}
	return b.Const(0x1p-1022)
}

// Bool is a known truth value.
func (b *Builder) Bool(x bool) Value {
	if x {
		return b.node(Node{Op: Bool, Index: 1})
	}
	return b.node(Node{Op: Bool})
}

// Known is the truth value of v if it is known.
func (b *Builder) Known(v Value) (value, known bool) {
	n := b.f.Nodes[v]
	return n.Index == 1, n.Op == Bool
}

// Unary makes op(a).
func (b *Builder) Unary(op Op, a Value) Value {
	if x, ok := b.Known(a); ok && op == Not {
		return b.Bool(!x)
	}
	return b.node(Node{Op: op, A: a})
}

// Binary makes a op c. A word's bits shifted left or those shifted right by what is left of 32 are the word rotated: w<<13 | w>>19.
func (b *Builder) Binary(op Op, a, c Value) Value {
	if op == And || op == Or {
		// true && c is c; false && c is false; and the same for || with the two swapped.
		if x, ok := b.Known(a); ok {
			if x == (op == And) {
				return c
			}
			return a
		}
		if x, ok := b.Known(c); ok {
			if x == (op == And) {
				return a
			}
			return c
		}
	}
	if op == WOr {
		x, y := b.f.Nodes[a], b.f.Nodes[c]
		if x.Op == WShr {
			x, y = y, x
		}
		if x.Op == WShl && y.Op == WShr && x.A == y.A && x.Index+y.Index == 32 {
			return b.Shift(WRotl, x.A, x.Index)
		}
	}
	return b.node(Node{Op: op, A: a, B: c})
}

// Select makes cond ? yes : no.
func (b *Builder) Select(cond, yes, no Value) Value {
	if yes == no {
		return yes
	}
	if x, ok := b.Known(cond); ok {
		if x {
			return yes
		}
		return no
	}
	return b.node(Node{Op: Select, A: yes, B: no, C: cond})
}

// Label gives a node the name of a variable of the rule, for whoever reads what is emitted. The first name stays.
func (b *Builder) Label(v Value, name string) {
	if b.f.Names[v] == "" {
		b.f.Names[v] = name
	}
}

// Func finishes: final holds a value for each field. A field that keeps the value it had is not stored, and nodes that no
// store needs are dropped.
func (b *Builder) Func(final []Value) *Func {
	f := b.f
	var stores []Store
	for i, v := range final {
		if n := f.Nodes[v]; n.Op == Var && n.Index == i {
			continue
		}
		stores = append(stores, Store{Var: i, Value: v})
	}
	return compact(f, stores)
}

// compact drops the nodes that no store needs.
func compact(f Func, stores []Store) *Func {
	live := make([]bool, len(f.Nodes))
	for _, s := range stores {
		live[s.Value] = true
	}
	for i := len(f.Nodes) - 1; i >= 0; i-- {
		if live[i] {
			for _, a := range f.Nodes[i].Args() {
				live[a] = true
			}
		}
	}
	out := Func{Name: f.Name, Width: f.Width, Vars: f.Vars}
	to := make([]Value, len(f.Nodes))
	for i, n := range f.Nodes {
		if !live[i] {
			continue
		}
		switch n.Op.Arity() {
		case 3:
			n.C = to[n.C]
			fallthrough
		case 2:
			n.B = to[n.B]
			fallthrough
		case 1:
			n.A = to[n.A]
		}
		to[i] = Value(len(out.Nodes))
		out.Nodes = append(out.Nodes, n)
		out.Names = append(out.Names, f.Names[i])
	}
	for _, s := range stores {
		out.Stores = append(out.Stores, Store{Var: s.Var, Value: to[s.Value]})
	}
	return &out
}

// Inline adds the nodes of f, which has the builder's width. Entry is the value that each of f's fields starts with; what is returned is
// the value that each has at the end.
func (b *Builder) Inline(f *Func, entry []Value) []Value {
	to := make([]Value, len(f.Nodes))
	for i, n := range f.Nodes {
		switch n.Op {
		case Var:
			to[i] = entry[n.Index]
		case Const, Bool, Word, Element:
			to[i] = b.node(n)
		case WShl, WShr, WRotl:
			to[i] = b.Shift(n.Op, to[n.A], n.Index)
		case Select:
			to[i] = b.Select(to[n.C], to[n.A], to[n.B])
		default:
			if n.Op.Arity() == 1 {
				to[i] = b.Unary(n.Op, to[n.A])
			} else {
				to[i] = b.Binary(n.Op, to[n.A], to[n.B])
			}
		}
		if f.Names[i] != "" {
			b.Label(to[i], f.Names[i])
		}
	}
	final := append([]Value(nil), entry...)
	for _, s := range f.Stores {
		final[s.Var] = to[s.Value]
	}
	return final
}
