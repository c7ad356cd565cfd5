package cpu

import "github.com/fusestep/fusestep/kernels/ir"

// tileOp is what a loop over tiles computes: an operation of package ir, or one that stands for several.
type tileOp ir.Op

const (
	mulAdd    = tileOp(ir.Select) + 1 + iota // a·b + c, rounded after each operation, as the next four are
	mulSub                                   // a·b - c
	subMul                                   // c - a·b
	mulMulAdd                                // a·b + c·d
	mulMulSub                                // a·b - c·d
	flush                                    // |a| < b ? 0 : a
	move                                     // a
	selectLt                                 // a < b ? c : d
	selectLe                                 // a <= b ? c : d
	selectEq                                 // a == b ? c : d
	selectNe                                 // a != b ? c : d
)

// selects are the compounds of a comparison and a choice of numbers by it.
var selects = map[ir.Op]tileOp{ir.Lt: selectLt, ir.Le: selectLe, ir.Eq: selectEq, ir.Ne: selectNe}

// operation is how a node is computed. One without arguments is not: it is no operation, uniform, or part of another.
type operation struct {
	op   tileOp
	args []ir.Value
}

// compound is how each node is computed, with operations that stand for several where only they use what is between.
func compound(f *ir.Func, varying []bool) []operation {
	uses := make([]int, len(f.Nodes))
	out := make([]operation, len(f.Nodes))
	for i := range f.Nodes {
		n := &f.Nodes[i]
		for _, a := range n.Args() {
			uses[a]++
		}
		if varying[i] && n.Op != ir.Var {
			out[i] = operation{tileOp(n.Op), n.Args()}
		}
	}
	for _, s := range f.Stores {
		uses[s.Value]++
	}
	// inner is the node v if it is an operation op that only one other uses.
	inner := func(v ir.Value, op ir.Op) *ir.Node {
		if n := &f.Nodes[v]; n.Op == op && uses[v] == 1 && varying[v] {
			return n
		}
		return nil
	}
	into := func(i int, op tileOp, within []ir.Value, args ...ir.Value) {
		out[i] = operation{op, args}
		for _, v := range within {
			out[v].args = nil
		}
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if out[i].args == nil {
			continue
		}
		switch n.Op {
		case ir.Add, ir.Sub:
			a, b := inner(n.A, ir.Mul), inner(n.B, ir.Mul)
			both, left, right := mulMulAdd, mulAdd, mulAdd
			if n.Op == ir.Sub {
				both, left, right = mulMulSub, mulSub, subMul
			}
			switch {
			case a != nil && b != nil && n.A != n.B:
				into(i, both, []ir.Value{n.A, n.B}, a.A, a.B, b.A, b.B)
			case a != nil:
				into(i, left, []ir.Value{n.A}, a.A, a.B, n.B)
			case b != nil:
				into(i, right, []ir.Value{n.B}, b.A, b.B, n.A)
			}
		case ir.Select:
			c := &f.Nodes[n.C]
			op, compares := selects[c.Op]
			if !compares || inner(n.C, c.Op) == nil || f.IsBool(n.A) {
				continue
			}
			into(i, op, []ir.Value{n.C}, c.A, c.B, n.A, n.B)
			zero := &f.Nodes[n.A]
			if zero.Op != ir.Const || zero.Bits != 0 || c.Op != ir.Lt || varying[c.B] {
				continue
			}
			if abs := inner(c.A, ir.Abs); abs != nil && abs.A == n.B {
				into(i, flush, []ir.Value{n.C, c.A}, n.B, c.B)
			}
		}
	}
	return out
}
