// Package ptx writes programs as PTX text for NVIDIA's driver to compile at run time: the update of all tensors in one
// launch, the prologue that computes a step's scalars on the device, and the gradient norm by the tree of package
// kernels. The text is for PTX 7.0 and sm_70, and runs on everything newer.
//
// Every floating-point instruction rounds to nearest even and keeps subnormals, and no product is fused with an addition: the
// bits are those of the Go function.
package ptx

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
)

// header starts every text.
const header = `.version 7.0
.target sm_70
.address_size 64
`

// Block is the number of threads of a block of every kernel here.
const Block = 256

// A writer collects the instructions and registers of one kernel.
type writer struct {
	body strings.Builder
	regs [][2]string       // type and name, in order of first use
	seen map[string]string // the type of each

	// perProcessor, if not 0, is how many blocks must fit a multiprocessor: it lets the compiler use more registers than it
	// would by itself.
	perProcessor int

	hints Hints // of the accesses to elements
}

// named is a name that belongs to something of the user's: what the emitter calls it, a $, and the user's name. The emitter's part
// never contains a $, so that user's names can meet neither the emitter's nor, for two different names, each other.
func named(own, user string) string { return own + "$" + mangle(user) }

// mangle spells a name as it can stand in an identifier of PTX. The dot between a parameter and its field becomes a $, which is no
// letter of Go's, and every other rune that PTX does not have becomes its number, as in $03b2$ for β. The 0 tells that from a field,
// which does not start with a digit. Different names stay different.
func mangle(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9':
			b.WriteRune(r)
		case r == '.':
			b.WriteByte('$')
		default:
			fmt.Fprintf(&b, "$0%x$", r)
		}
	}
	return b.String()
}

// reg declares a register, once, and returns its name.
func (w *writer) reg(typ, name string) string {
	name = "%" + name
	switch w.seen[name] {
	case typ:
	case "":
		if w.seen == nil {
			w.seen = map[string]string{}
		}
		w.seen[name] = typ
		w.regs = append(w.regs, [2]string{typ, name})
	default:
		panic("ptx: register " + name + " has two types")
	}
	return name
}

// op writes an instruction.
func (w *writer) op(format string, args ...any) {
	fmt.Fprintf(&w.body, "\t"+format+";\n", args...)
}

func (w *writer) label(name string) { fmt.Fprintf(&w.body, "%s:\n", name) }
func (w *writer) comment(format string, args ...any) {
	fmt.Fprintf(&w.body, "\t// %s\n", ascii(fmt.Sprintf(format, args...)))
}

// ascii spells what PTX, which is ASCII in comments too, does not have as Go does: \u03b2.
func ascii(s string) string { return strings.Trim(strconv.QuoteToASCII(s), `"`) }

// entry is the text of a kernel with its parameters, given as "u64 name".
func (w *writer) entry(name string, params ...string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n.visible .entry %s(\n", name)
	for i, p := range params {
		typ, pname, _ := strings.Cut(p, " ")
		comma := ","
		if i == len(params)-1 {
			comma = ""
		}
		fmt.Fprintf(&out, "\t.param .%s %s%s\n", typ, pname, comma)
	}
	fmt.Fprintf(&out, ")\n.maxntid %d, 1, 1\n", Block)
	if w.perProcessor > 0 {
		fmt.Fprintf(&out, ".minnctapersm %d\n", w.perProcessor)
	}
	out.WriteString("{\n")
	for _, typ := range []string{"pred", "b16", "b32", "b64", "f32", "f64"} {
		var names []string
		for _, r := range w.regs {
			if r[0] == typ {
				names = append(names, r[1])
			}
		}
		for row := range slices.Chunk(names, 8) {
			fmt.Fprintf(&out, "\t.reg .%s %s;\n", typ, strings.Join(row, ", "))
		}
	}
	out.WriteString("\n")
	out.WriteString(w.body.String())
	out.WriteString("}\n")
	return out.String()
}

// params loads the kernel's parameters into registers of their names.
func (w *writer) params(params ...string) {
	for _, p := range params {
		typ, name, _ := strings.Cut(p, " ")
		w.op("ld.param.%s %s, [%s]", typ, w.reg(bitsOf(typ), name), name)
	}
}

// bitsOf is the register type for a parameter's.
func bitsOf(typ string) string { return strings.Replace(typ, "u", "b", 1) }

// imm is a floating-point constant, exactly.
func imm(typ string, x float64) string {
	if typ == "f32" {
		return fmt.Sprintf("0f%08X", math.Float32bits(float32(x)))
	}
	return fmt.Sprintf("0d%016X", math.Float64bits(x))
}

// A graph is an ir function on its way into a kernel: which register or constant each node is.
type graph struct {
	*writer
	f      *ir.Func
	typ    string   // f32 or f64
	at     []string // per node: its operand, "" before it is emitted
	index  string   // the register that holds the element's index, of 64 bits
	suffix string   // of the registers made next, for copies of the graph side by side
}

func (w *writer) graph(f *ir.Func) *graph {
	return &graph{writer: w, f: f, typ: fmt.Sprintf("f%d", f.Width), at: make([]string, len(f.Nodes))}
}

// set says where the value of a field on entry is.
func (g *graph) set(field int, operand string) {
	for i, n := range g.f.Nodes {
		if n.Op == ir.Var && n.Index == field {
			g.at[i] = operand
		}
	}
}

// instructions are those of operations on numbers, which the type follows.
var instructions = map[ir.Op]string{ir.Add: "add.rn", ir.Sub: "sub.rn", ir.Mul: "mul.rn", ir.Div: "div.rn", ir.Sqrt: "sqrt.rn",
	ir.Neg: "neg", ir.Abs: "abs", ir.Lt: "setp.lt", ir.Le: "setp.le", ir.Eq: "setp.eq", ir.Ne: "setp.neu"}

// typed are the instructions of operations on truth values and words.
var typed = map[ir.Op]string{ir.And: "and.pred", ir.Or: "or.pred", ir.Not: "not.pred",
	ir.WAdd: "add.u32", ir.WSub: "sub.u32", ir.WMul: "mul.lo.u32", ir.WMulHigh: "mul.hi.u32", ir.WAnd: "and.b32", ir.WOr: "or.b32",
	ir.WXor: "xor.b32", ir.WShl: "shl.b32", ir.WShr: "shr.u32", ir.WLt: "setp.lt.u32", ir.WEq: "setp.eq.u32"}

// run emits the nodes that want says and that have no operand yet.
func (g *graph) run(want func(ir.Value) bool) {
	for i := range g.f.Nodes {
		if v := ir.Value(i); g.at[v] == "" && want(v) {
			g.at[v] = g.node(v)
		}
	}
}

// node emits one node and returns its operand.
func (g *graph) node(v ir.Value) string {
	n := &g.f.Nodes[v]
	switch n.Op {
	case ir.Const:
		return imm(g.typ, math.Float64frombits(n.Bits))
	case ir.Word:
		return fmt.Sprintf("0x%x", n.Bits)
	case ir.Var:
		panic("ptx: " + g.f.Vars[n.Index].Name + " has no operand")
	}
	reg := func(typ, part string) string {
		name := fmt.Sprintf("v%d%s%s", v, part, g.suffix)
		if label := g.f.Names[v]; label != "" {
			name = named(name, label)
		}
		return g.reg(typ, name)
	}
	typ := map[ir.Kind]string{ir.Number: g.typ, ir.Truth: "pred", ir.Integer: "b32"}[g.f.Kind(v)]
	dst := reg(typ, "")
	// A conversion between words and numbers goes by way of a float32.
	single := func() string {
		if g.typ == "f32" {
			return dst
		}
		return reg("f32", "_single")
	}
	widen := func(x string) {
		if x != dst {
			g.op("cvt.f64.f32 %s, %s", dst, x)
		}
	}
	a, b, c := "", "", ""
	switch n.Op.Arity() {
	case 3:
		c = g.at[n.C]
		fallthrough
	case 2:
		b = g.at[n.B]
		fallthrough
	case 1:
		a = g.at[n.A]
	}
	switch n.Op {
	case ir.Bool:
		g.op("setp.eq.u32 %s, 0, %d", dst, 1-n.Index)
	case ir.Select:
		if typ != "pred" {
			g.op("selp.%s %s, %s, %s, %s", typ, dst, a, b, c)
			break
		}
		yes, not := reg("pred", "_yes"), reg("pred", "_no")
		g.op("and.pred %s, %s, %s", yes, c, a)
		g.op("not.pred %s, %s", not, c)
		g.op("and.pred %s, %s, %s", not, not, b)
		g.op("or.pred %s, %s, %s", dst, yes, not)
	case ir.Element:
		from := g.index
		if n.Index == 1 {
			high := reg("b64", "_high")
			g.op("shr.u64 %s, %s, 32", high, from)
			from = high
		}
		g.op("cvt.u32.u64 %s, %s", dst, from)
	case ir.FromBits:
		x := single()
		g.op("mov.b32 %s, %s", x, a)
		widen(x)
	case ir.FromHalf:
		half, x := reg("b16", "_half"), single()
		g.op("cvt.u16.u32 %s, %s", half, a)
		g.op("cvt.f32.f16 %s, %s", x, half)
		widen(x)
	case ir.ToBits:
		g.op("mov.b32 %s, %s", dst, a)
	case ir.ToHalf:
		half := reg("b16", "_half")
		g.op("cvt.rn.f16.f32 %s, %s", half, a)
		g.op("cvt.u32.u16 %s, %s", dst, half)
	case ir.WRotl:
		g.op("shf.l.wrap.b32 %s, %s, %s, %d", dst, a, a, n.Index)
	case ir.WShl, ir.WShr:
		g.op("%s %s, %s, %d", typed[n.Op], dst, a, n.Index)
	case ir.Not:
		g.op("%s %s, %s", typed[n.Op], dst, a)
	case ir.Sqrt, ir.Neg, ir.Abs:
		g.op("%s.%s %s, %s", instructions[n.Op], g.typ, dst, a)
	default:
		if op := typed[n.Op]; op != "" {
			g.op("%s %s, %s, %s", op, dst, a, b)
		} else {
			g.op("%s.%s %s, %s, %s", instructions[n.Op], g.typ, dst, a, b)
		}
	}
	return dst
}

// copy is a graph that shares the operands so far and emits into registers of their own.
func (g *graph) copy(suffix string) *graph {
	c := *g
	c.at = append([]string(nil), g.at...)
	c.suffix = suffix
	return &c
}
