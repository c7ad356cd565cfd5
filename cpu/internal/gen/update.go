package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

const (
	vector   = 32         // bytes of a YMM register
	unroll   = 2          // vectors a round: a cache line
	prefetch = 2 << 10    // bytes ahead: 8 to 12 % in DRAM
	signs    = 0          // the block of uniforms starts with three masks, of vector bytes each: the sign bit,
	noSigns  = vector     // all bits but the sign,
	ones     = 2 * vector // and all bits; then come the graph's uniforms
	uniforms = 3 * vector
)

// loopOf writes a graph over vectors.
type loopOf struct {
	f       *ir.Func
	single  bool         // float32
	block   reg.Register // of uniforms
	uniform map[ir.Value]int
	at      []reg.VecVirtual // of the varying nodes
}

// updateLoop writes the fused loop of a program: n bytes, a multiple of unroll·vector, of each slot that it uses, in order of
// slot.
func updateLoop(name string, p kernels.Program, f *ir.Func) {
	TEXT(name, NOSPLIT, "func(slots **byte, uniforms *byte, n int)")
	Doc(fmt.Sprintf("%s is %s over n bytes of each slot, a multiple of %d.", name, p, unroll*vector))
	used, err := p.Used()
	if err != nil {
		panic(err)
	}

	slots := Load(Param("slots"), GP64())
	pointers := map[int]reg.Register{}
	for i, k := range used {
		pointers[k] = GP64()
		MOVQ(Mem{Base: slots, Disp: 8 * i}, pointers[k])
	}
	l := &loopOf{f: f, single: f.Width == 32, block: Load(Param("uniforms"), GP64()), uniform: map[ir.Value]int{}}
	for i, v := range f.Uniforms(rule.ElemBank) {
		l.uniform[v] = uniforms + i*vector
	}
	n := Load(Param("n"), GP64())
	at := GP64()
	XORQ(at, at)
	Label("loop")
	for _, k := range used {
		PREFETCHT0(Mem{Base: pointers[k], Index: at, Scale: 1, Disp: prefetch})
	}
	for u := range unroll {
		l.at = make([]reg.VecVirtual, len(f.Nodes))
		varying := f.Varying(rule.ElemBank)
		for i := range f.Nodes {
			v := ir.Value(i)
			if !varying[v] {
				continue
			}
			if n := f.Nodes[v]; n.Op == ir.Var {
				l.at[v] = YMM()
				l.load(Mem{Base: pointers[n.Index], Index: at, Scale: 1, Disp: u * vector}, l.at[v])
				continue
			}
			l.node(v)
		}
		for _, s := range f.Stores {
			l.store(l.register(s.Value), Mem{Base: pointers[s.Var], Index: at, Scale: 1, Disp: u * vector})
		}
	}
	ADDQ(Imm(unroll*vector), at)
	CMPQ(at, n)
	JNE(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func (l *loopOf) load(m Op, r reg.VecVirtual) {
	if l.single {
		VMOVUPS(m, r)
	} else {
		VMOVUPD(m, r)
	}
}

func (l *loopOf) store(r reg.VecVirtual, m Op) {
	if l.single {
		VMOVUPS(r, m)
	} else {
		VMOVUPD(r, m)
	}
}

// operand is a node as a register, or as memory if it is uniform.
func (l *loopOf) operand(v ir.Value) Op {
	if off, ok := l.uniform[v]; ok {
		return Mem{Base: l.block, Disp: off}
	}
	return l.at[v]
}

// register is a node in a register.
func (l *loopOf) register(v ir.Value) reg.VecVirtual {
	if off, ok := l.uniform[v]; ok {
		r := YMM()
		l.load(Mem{Base: l.block, Disp: off}, r)
		return r
	}
	return l.at[v]
}

// node writes an operation whose result varies.
func (l *loopOf) node(v ir.Value) {
	n := l.f.Nodes[v]
	dst := YMM()
	l.at[v] = dst
	pick := func(ps, pd func(...Op)) func(...Op) {
		if l.single {
			return ps
		}
		return pd
	}
	mask := func(off int) Op { return Mem{Base: l.block, Disp: off} }
	compare := func(predicate uint8) {
		pick(VCMPPS, VCMPPD)(Imm(uint64(predicate)), l.operand(n.B), l.register(n.A), dst)
	}
	switch n.Op {
	case ir.Add, ir.Mul:
		op := pick(VADDPS, VADDPD)
		if n.Op == ir.Mul {
			op = pick(VMULPS, VMULPD)
		}
		a, b := n.A, n.B
		if _, uniform := l.uniform[a]; uniform {
			a, b = b, a // memory can only be the second operand; which one it is shows in a NaN's payload alone
		}
		op(l.operand(b), l.register(a), dst)
	case ir.Sub:
		pick(VSUBPS, VSUBPD)(l.operand(n.B), l.register(n.A), dst)
	case ir.Div:
		pick(VDIVPS, VDIVPD)(l.operand(n.B), l.register(n.A), dst)
	case ir.Sqrt:
		pick(VSQRTPS, VSQRTPD)(l.operand(n.A), dst)
	case ir.Neg:
		pick(VXORPS, VXORPD)(mask(signs), l.register(n.A), dst)
	case ir.Abs:
		pick(VANDPS, VANDPD)(mask(noSigns), l.register(n.A), dst)
	case ir.Lt:
		compare(0x11) // quiet, false for NaN
	case ir.Le:
		compare(0x12)
	case ir.Eq:
		compare(0x00)
	case ir.Ne:
		compare(0x04) // true for NaN
	case ir.And:
		pick(VANDPS, VANDPD)(l.operand(n.B), l.register(n.A), dst)
	case ir.Or:
		pick(VORPS, VORPD)(l.operand(n.B), l.register(n.A), dst)
	case ir.Not:
		pick(VXORPS, VXORPD)(mask(ones), l.register(n.A), dst)
	case ir.Select:
		if yes := l.f.Nodes[n.A]; yes.Op == ir.Const && yes.Bits == 0 {
			pick(VANDNPS, VANDNPD)(l.operand(n.B), l.register(n.C), dst) // cond ? 0 : b
			return
		}
		if l.single {
			VBLENDVPS(l.register(n.C), l.operand(n.A), l.register(n.B), dst)
		} else {
			VBLENDVPD(l.register(n.C), l.operand(n.A), l.register(n.B), dst)
		}
	default:
		panic(n.Op)
	}
}
