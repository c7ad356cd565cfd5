// Package ir is the checked SSA form of a rule: one graph of scalar floating-point operations, in which every operation
// rounds once, in the order the rule wrote them. Everything that runs a rule, other than the Go compiler, starts from
// here: the evaluator in this package, the PTX emitter, the CPU's machine code.
//
// No floating-point identity is ever applied to a graph (x*1, x+0 and x-x all stay), because none holds for every bit
// pattern. What shrinks a graph is only: equal nodes are one node, two shifts of a word that rotate it are one, and what no store needs is
// dropped.
package ir

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Op is what a node computes. The comment gives its operands.
type Op uint8

const (
	Var     Op = iota // Index: a field of one of the function's banks
	Const             // Bits: a constant, as the bits of a float64 that the function's width holds exactly
	Bool              // Index: 0 or 1
	Word              // Bits: a constant of 32 bits
	Element           // Index: 0 or 1: the low or the high 32 bits of the element's index among those of all tensors; the same in all slots

	Add    // A + B
	Sub    // A - B
	Mul    // A * B
	Div    // A / B
	Sqrt   // √A, correctly rounded
	Neg    // A with its sign flipped
	Abs    // A with its sign cleared
	Lt     // A < B; false if either is NaN, as are the next two
	Le     // A <= B
	Eq     // A == B
	Ne     // A != B; true if either is NaN
	And    // A && B
	Or     // A || B
	Not    // !A
	Select // C ? A : B, on numbers, on bools or on words

	// Words are unsigned, of 32 bits. What is beyond them is cut off.
	FromBits // number: the float32 whose bits are word A, exactly
	ToBits   // word: the bits of A as a float32. Width 32 only.
	FromHalf // number: the binary16 whose bits are the low 16 of word A, exactly
	ToHalf   // word: A rounded to binary16, to nearest even. Width 32 only.
	WAdd     // A + B
	WSub     // A - B
	WMul     // A * B
	WMulHigh // the upper 32 bits of A * B
	WAnd     // A & B
	WOr      // A | B
	WXor     // A ^ B
	WShl     // A << Index, 0 to 31
	WShr     // A >> Index, 0 to 31
	WRotl    // A rotated left by Index, 1 to 31
	WLt      // bool: A < B
	WEq      // bool: A == B
)

var opNames = [...]string{"var", "const", "bool", "word", "element", "add", "sub", "mul", "div", "sqrt", "neg", "abs", "lt", "le", "eq",
	"ne", "and", "or", "not", "select", "frombits", "tobits", "fromhalf", "tohalf", "wadd", "wsub", "wmul", "wmulhigh", "wand", "wor",
	"wxor", "wshl", "wshr", "wrotl", "wlt", "weq"}

func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// Arity is the number of operands: those of A, B and C (for Select also the condition) that are used.
func (o Op) Arity() int {
	switch o {
	case Var, Const, Bool, Word, Element:
		return 0
	case Sqrt, Neg, Abs, Not, FromBits, ToBits, FromHalf, ToHalf, WShl, WShr, WRotl:
		return 1
	case Select:
		return 3
	default:
		return 2
	}
}

// Value names a node of a Func: its index in Func.Nodes. Operands come before what uses them.
type Value int32

// Node is one operation.
type Node struct {
	Op      Op
	A, B, C Value  // operands, for as many as Op.Arity says
	Index   int    // Var: index in Func.Vars; Bool, Element: 0 or 1; WShl, WShr, WRotl: by how many bits
	Bits    uint64 // Const, Word
}

// Args are the node's operands.
func (n *Node) Args() []Value { return []Value{n.A, n.B, n.C}[:n.Op.Arity()] }

// Kind is what a node's result is.
type Kind uint8

const (
	Number Kind = iota
	Truth
	Integer // a word
)

// Kind is what the node's result is. A Select is what its arms are, a Var what its field holds.
func (f *Func) Kind(v Value) Kind {
	for f.Nodes[v].Op == Select {
		v = f.Nodes[v].A
	}
	switch n := &f.Nodes[v]; n.Op {
	case Var:
		if f.Vars[n.Index].Type != Float {
			return Integer
		}
	case Bool, Lt, Le, Eq, Ne, And, Or, Not, WLt, WEq:
		return Truth
	case Word, Element, ToBits, ToHalf, WAdd, WSub, WMul, WMulHigh, WAnd, WOr, WXor, WShl, WShr, WRotl:
		return Integer
	}
	return Number
}

// IsBool says whether the node's result is a truth value.
func (f *Func) IsBool(v Value) bool { return f.Kind(v) == Truth }

// Type is what a field holds in memory.
type Type uint8

const (
	Float Type = iota // a number of the function's width
	U32               // a word
	U16               // the low 16 bits of a word; the others are 0 when it is read
	U8                // likewise, 8 bits
)

// Size is the bytes of a field of the type, in a function of the width.
func (t Type) Size(width int) int {
	return [...]int{Float: width / 8, U32: 4, U16: 2, U8: 1}[t]
}

// A Field is one number or word that a function reads or writes: field Index of its parameter Bank.
type Field struct {
	Bank, Index int
	Name        string // as the rule's source spells it, such as "e.M"
	Type        Type
}

// A Store is the value that a field has when the function returns.
type Store struct {
	Var   int // index in Func.Vars
	Value Value
}

// A Func is a rule for one set of options at one width.
type Func struct {
	Name   string
	Width  int     // bits of every number: 32 or 64
	Vars   []Field // every field of every bank, bank by bank
	Nodes  []Node
	Names  []string // per node, the rule's variable it was first assigned to, or ""
	Stores []Store  // in order of Var; a field that keeps its value has none
}

// Loads are the fields whose value on entry the stores depend on, in order of Var.
func (f *Func) Loads() []int {
	used := make([]bool, len(f.Vars))
	for _, n := range f.Nodes {
		if n.Op == Var {
			used[n.Index] = true
		}
	}
	var out []int
	for i, u := range used {
		if u {
			out = append(out, i)
		}
	}
	return out
}

// Varying says for each node whether it depends on a field of one of the banks, or on the element's index. What does not is the same for all
// elements.
func (f *Func) Varying(banks ...int) []bool {
	out := make([]bool, len(f.Nodes))
	for i := range f.Nodes {
		n := &f.Nodes[i]
		switch n.Op {
		case Var:
			out[i] = slices.Contains(banks, f.Vars[n.Index].Bank)
		case Element:
			out[i] = true
		}
		for _, a := range n.Args() {
			out[i] = out[i] || out[a]
		}
	}
	return out
}

// Uniforms are the nodes that do not depend on the bank, and that a node which does, or a store, uses directly: what a
// loop over the bank's elements needs to be given. In order of node.
func (f *Func) Uniforms(bank int) []Value { return f.Given(f.Varying(bank)) }

// Given are the nodes that do not vary, and that a node which does, or a store, uses directly. In order of node.
func (f *Func) Given(varying []bool) []Value {
	used := make([]bool, len(f.Nodes))
	for i := range f.Nodes {
		if varying[i] {
			for _, a := range f.Nodes[i].Args() {
				used[a] = used[a] || !varying[a]
			}
		}
	}
	for _, s := range f.Stores {
		used[s.Value] = used[s.Value] || !varying[s.Value]
	}
	var out []Value
	for i, u := range used {
		if u {
			out = append(out, Value(i))
		}
	}
	return out
}

// Fingerprint is the same for two functions that compute the same thing by the same operations from the same fields: all of a
// function but its names.
func (f *Func) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintln(h, f.Width, len(f.Vars))
	for _, v := range f.Vars {
		fmt.Fprintln(h, v.Bank, v.Index, v.Type)
	}
	for _, n := range f.Nodes {
		fmt.Fprintln(h, n)
	}
	fmt.Fprintln(h, f.Stores)
	return hex.EncodeToString(h.Sum(nil)[:12])
}
