package main

import (
	"fmt"
	"slices"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// loopOf writes a graph over vectors.
type loopOf struct {
	*writer
	f       *ir.Func
	block   reg.Register     // of uniforms
	uniform map[ir.Value]int // offset in the block
	kept    map[int]Op       // by offset in the block: what stands in a register throughout
	last    []int            // the node that uses each last; one more than there are if a store does
	at      []Op             // of the varying nodes: vector registers, or mask registers for truth values in AVX-512
}

// update writes the fused loop of a program: n bytes, a multiple of round, of each slot that it uses, in order of slot.
func (w *writer) update(name string, p kernels.Program) {
	f, err := p.Graph()
	if err != nil {
		panic(err)
	}
	used, err := p.Used()
	if err != nil {
		panic(err)
	}
	w.function(name, loopSignature, fmt.Sprintf("%s is %s over n bytes of each slot, a multiple of %d.", name, p, round))
	pointers := map[int]reg.Register{}
	for i, r := range w.pointers(len(used)) {
		pointers[used[i]] = r
	}
	l := &loopOf{writer: w, f: f, block: w.Load(w.Param("uniforms"), w.GP64()), uniform: map[ir.Value]int{}, kept: map[int]Op{}, last: lastUses(f)}
	for i, v := range f.Uniforms(rule.ElemBank) {
		l.uniform[v] = w.isa.uniform(i)
	}
	if w.wide {
		l.keep()
	}
	var all []reg.Register
	for _, k := range used {
		all = append(all, pointers[k])
	}
	w.loop(all, func(at reg.Register) {
		varying := f.Varying(rule.ElemBank)
		for u := 0; u < round; u += w.vector {
			l.at = make([]Op, len(f.Nodes))
			for i, n := range f.Nodes {
				switch v := ir.Value(i); {
				case !varying[v]:
				case n.Op == ir.Var:
					l.at[v] = Mem{Base: pointers[n.Index], Index: at, Scale: 1, Disp: u}
					if !once(f, v) {
						l.at[v] = l.register(v)
					}
				default:
					l.node(v)
				}
			}
			for _, s := range f.Stores {
				w.move(f.Width, l.register(s.Value), Mem{Base: pointers[s.Var], Index: at, Scale: 1, Disp: u})
			}
		}
	})
}

// lastUses is the node that uses each node last; one more than there are if a store does.
func lastUses(f *ir.Func) []int {
	last := make([]int, len(f.Nodes))
	for i := range f.Nodes {
		for _, a := range f.Nodes[i].Args() {
			last[a] = i
		}
	}
	for _, s := range f.Stores {
		last[s.Value] = len(f.Nodes)
	}
	return last
}

// once says whether a slot is used by one operation alone, which may then take it from memory. A store may not: the slot may have
// been stored to by then.
func once(f *ir.Func, slot ir.Value) bool {
	uses := 0
	for i := range f.Nodes {
		for _, a := range f.Nodes[i].Args() {
			if a == slot {
				uses++
			}
		}
	}
	for _, s := range f.Stores {
		if s.Value == slot {
			return false
		}
	}
	return uses == 1
}

// function starts a function.
func (w *writer) function(name, signature, doc string) {
	w.Function(name)
	w.Attributes(attr.NOSPLIT)
	w.SignatureExpr(signature)
	w.Doc(doc)
}

// pointers loads n pointers of the parameter slots.
func (w *writer) pointers(n int) (out []reg.Register) {
	slots := w.Load(w.Param("slots"), w.GP64())
	for i := range n {
		out = append(out, w.GP64())
		w.MOVQ(Mem{Base: slots, Disp: 8 * i}, out[i])
	}
	return out
}

// loop writes a loop in rounds over the parameter n, prefetching each slot if the parameter prefetch is not 0, and ends the
// function.
func (w *writer) loop(slots []reg.Register, body func(at reg.Register)) {
	n, prefetch := w.Load(w.Param("n"), w.GP64()), w.Load(w.Param("prefetch"), w.GP64())
	at := w.GP64()
	w.XORQ(at, at)
	w.Label("loop")
	w.TESTQ(prefetch, prefetch)
	w.JEQ(LabelRef("compute"))
	for _, p := range slots {
		w.PREFETCHT0(Mem{Base: p, Index: at, Scale: 1, Disp: ahead})
	}
	w.Label("compute")
	body(at)
	w.ADDQ(Imm(round), at)
	w.CMPQ(at, n)
	w.JNE(LabelRef("loop"))
	w.VZEROUPPER()
	w.RET()
}

// keep loads what is the same for all elements into registers, what is used most first, as far as registers go.
func (l *loopOf) keep() {
	uses := map[int]int{}
	for i, vary := range l.f.Varying(rule.ElemBank) {
		if !vary {
			continue
		}
		n := l.f.Nodes[i]
		for _, a := range n.Args() {
			if off, ok := l.uniform[a]; ok {
				uses[off]++
			}
		}
		switch n.Op {
		case ir.Neg:
			uses[l.signMask()]++
		case ir.Abs:
			uses[l.noSignMask()]++
		}
	}
	var order []int
	for off := range uses {
		order = append(order, off)
	}
	slices.SortFunc(order, func(a, b int) int {
		if uses[a] != uses[b] {
			return uses[b] - uses[a]
		}
		return a - b
	})
	vectors, masks := l.registers-l.alive(), 2
	for _, off := range order {
		r := l.reg()
		switch boolean := l.truth(off); {
		case boolean && masks > 0:
			k := l.K()
			l.move(l.f.Width, Mem{Base: l.block, Disp: off}, r)
			l.toMask(l.f.Width, r, k)
			l.kept[off] = k
			masks--
		case !boolean && vectors > 0:
			l.move(l.f.Width, Mem{Base: l.block, Disp: off}, r)
			l.kept[off] = r
			vectors--
		}
	}
}

// truth says whether a truth value stands at an offset of the block.
func (l *loopOf) truth(off int) bool {
	for v, o := range l.uniform {
		if o == off {
			return l.f.IsBool(v)
		}
	}
	return false // a mask of the block's head
}

// alive is the most vector registers that the body needs at a time beside those that are kept: for the values that are still
// to be used, one for a result and two for operands from memory.
func (l *loopOf) alive() (most int) {
	f := l.f
	varying := f.Varying(rule.ElemBank)
	for i := range f.Nodes {
		n := 0
		for k := range i {
			if varying[k] && l.last[k] >= i && !f.IsBool(ir.Value(k)) {
				n++
			}
		}
		most = max(most, n)
	}
	return most + 3
}

// constant is what stands at an offset of the block: a register where it is kept, or memory.
func (l *loopOf) constant(off int) Op {
	if r, ok := l.kept[off]; ok {
		return r
	}
	return Mem{Base: l.block, Disp: off}
}

// operand is a node as a register, or as memory if it is uniform.
func (l *loopOf) operand(v ir.Value) Op {
	if off, ok := l.uniform[v]; ok {
		return l.constant(off)
	}
	return l.at[v]
}

// register is a node in a vector register.
func (l *loopOf) register(v ir.Value) reg.VecVirtual {
	x := l.operand(v)
	if r, ok := x.(reg.VecVirtual); ok {
		return r
	}
	r := l.reg()
	l.move(l.f.Width, x, r)
	return r
}

// condition is a truth value as blend wants it.
func (l *loopOf) condition(v ir.Value) Op {
	x := l.operand(v)
	if _, memory := x.(Mem); !memory || !l.wide {
		return x
	}
	r, k := l.reg(), l.K()
	l.move(l.f.Width, x, r)
	l.toMask(l.f.Width, r, k)
	return k
}

// node writes an operation whose result varies.
func (l *loopOf) node(v ir.Value) {
	n, width := l.f.Nodes[v], l.f.Width
	if l.wide && l.f.IsBool(v) {
		k := l.K()
		l.at[v] = k
		l.maskNode(n, k)
		return
	}
	dst := l.reg()
	l.at[v] = dst
	switch n.Op {
	case ir.Add, ir.Mul:
		a, b := n.A, n.B
		if _, memory := l.operand(a).(Mem); memory {
			a, b = b, a // which one is memory shows in a NaN's payload alone
		}
		l.number(n.Op, width, l.register(a), l.operand(b), dst)
	case ir.Sub, ir.Div, ir.And, ir.Or:
		l.number(n.Op, width, l.register(n.A), l.operand(n.B), dst)
	case ir.Sqrt:
		l.number(n.Op, width, l.register(n.A), nil, dst)
	case ir.Neg:
		l.number(n.Op, width, l.register(n.A), l.constant(l.signMask()), dst)
	case ir.Abs:
		l.number(n.Op, width, l.register(n.A), l.constant(l.noSignMask()), dst)
	case ir.Not:
		l.number(n.Op, width, l.register(n.A), l.constant(l.onesMask()), dst)
	case ir.Lt, ir.Le, ir.Eq, ir.Ne:
		l.compare(n.Op, width, l.register(n.A), l.operand(n.B), dst)
	case ir.Select:
		yes := l.f.Nodes[n.A]
		switch {
		case !l.wide && yes.Op == ir.Const && yes.Bits == 0:
			pick(width, l.VANDNPS, l.VANDNPD)(l.operand(n.B), l.register(n.C), dst) // cond ? 0 : b
		case l.wide:
			l.select512(v, n, dst)
		default:
			l.blend(width, l.register(n.C), l.operand(n.A), l.register(n.B), dst)
		}
	default:
		panic(n.Op)
	}
}

// select512 writes a Select in AVX-512: a masked move into the register of what is taken otherwise, where nothing else needs that.
func (l *loopOf) select512(v ir.Value, n ir.Node, dst reg.VecVirtual) {
	k, yes, no := l.condition(n.C), l.operand(n.A), l.register(n.B)
	_, uniform := l.uniform[n.B]
	if _, memory := l.at[n.B].(Mem); !uniform && !memory && l.last[n.B] == int(v) {
		pick(l.f.Width, l.VMOVUPS, l.VMOVUPD)(yes, k, no)
		l.at[v] = no
		return
	}
	l.blend(l.f.Width, k, yes, no, dst)
}

// maskNode writes an operation whose result is a truth value that varies, in a mask register.
func (l *loopOf) maskNode(n ir.Node, k reg.OpmaskVirtual) {
	switch n.Op {
	case ir.Lt, ir.Le, ir.Eq, ir.Ne:
		l.compare(n.Op, l.f.Width, l.register(n.A), l.operand(n.B), k)
	case ir.And:
		l.KANDW(l.condition(n.A), l.condition(n.B), k)
	case ir.Or:
		l.KORW(l.condition(n.A), l.condition(n.B), k)
	case ir.Not:
		l.KNOTW(l.condition(n.A), k)
	case ir.Select:
		yes, no := l.K(), l.K()
		l.KANDW(l.condition(n.A), l.condition(n.C), yes)
		l.KANDNW(l.condition(n.B), l.condition(n.C), no) // not c, and b
		l.KORW(yes, no, k)
	default:
		panic(n.Op)
	}
}
