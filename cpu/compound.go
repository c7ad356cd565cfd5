package cpu

import "github.com/fusestep/fusestep/kernels/ir"

// tileOp is what a loop over tiles computes: an operation of package ir, or one that stands for several.
type tileOp ir.Op

const (
	mulAdd = tileOp(ir.Select) + 1 + iota // a·b + c, rounded twice, as the next two are
	mulSub                                // a·b - c
	subMul                                // c - a·b
	flush                                 // |a| < b ? 0 : a
	move                                  // a
)

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
		case ir.Add:
			if m := inner(n.A, ir.Mul); m != nil {
				into(i, mulAdd, []ir.Value{n.A}, m.A, m.B, n.B)
			} else if m := inner(n.B, ir.Mul); m != nil {
				into(i, mulAdd, []ir.Value{n.B}, m.A, m.B, n.A)
			}
		case ir.Sub:
			if m := inner(n.B, ir.Mul); m != nil {
				into(i, subMul, []ir.Value{n.B}, m.A, m.B, n.A)
			} else if m := inner(n.A, ir.Mul); m != nil {
				into(i, mulSub, []ir.Value{n.A}, m.A, m.B, n.B)
			}
		case ir.Select:
			zero := &f.Nodes[n.A]
			if zero.Op != ir.Const || zero.Bits != 0 {
				continue
			}
			if less := inner(n.C, ir.Lt); less != nil && !varying[less.B] {
				if abs := inner(less.A, ir.Abs); abs != nil && abs.A == n.B {
					into(i, flush, []ir.Value{n.C, less.A}, n.B, less.B)
				}
			}
		}
	}
	return out
}
