package cpu

import (
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A later pass often computes again what an earlier one has computed, such as an update of which that one sums squares: to store it would move more bytes
// than it saves time. A small tensor is in a cache, and there a root or a quotient takes longer than a store and a load. So of small tensors these
// numbers are kept from pass to pass, in memory of the thread's. They have the same bits: they are the same operations on the same numbers.

// keptPass is a pass of small tensors. Behind the fields of the program's pass, its graph has one for each number that it keeps or finds.
type keptPass struct {
	kernels.Pass
	places []int // of these: which of what is kept
}

// keeper looks through a program's passes for what they compute again.
type keeper struct {
	program *kernels.Program
	numbers map[ir.Node]ir.Value  // nodes of all passes, by what they compute: their operands are numbers, and what a Var has is
	now     map[ir.Field]ir.Value // what fields have, by number; those of planesBank are the program's planes
	made    map[ir.Value]madeNode // by number, what elements have computed
	kept    []madeNode
	finds   []map[ir.Value]int // of each pass: nodes that need not be computed, and their places
}

// madeNode is a node of a pass.
type madeNode struct {
	pass int
	node ir.Value
}

// planesBank is of a keeper's fields alone.
const planesBank = -1

// keep makes the passes of small tensors, and says how many numbers of an element they keep; 0 where nothing is computed again that takes long.
func keep(p *kernels.Program) (passes []keptPass, kept int) {
	k := &keeper{p, map[ir.Node]ir.Value{}, map[ir.Field]ir.Value{}, map[ir.Value]madeNode{}, nil, make([]map[ir.Value]int, len(p.Passes))}
	for i := range p.Passes {
		k.look(i)
	}
	for i := range p.Passes {
		passes = append(passes, k.pass(i))
	}
	return passes, len(k.kept)
}

// number is that of a node whose operands are numbers.
func (k *keeper) number(n ir.Node) ir.Value {
	v, ok := k.numbers[n]
	if !ok {
		v = ir.Value(len(k.numbers))
		k.numbers[n] = v
	}
	return v
}

// field is what a field of a pass's graph is for all passes.
func (k *keeper) field(f *ir.Func, i int) ir.Field {
	if i < len(k.program.Planes) {
		return ir.Field{Bank: planesBank, Index: i}
	}
	return ir.Field{Bank: f.Vars[i].Bank, Index: f.Vars[i].Index}
}

// has is what a field has: a number of its own, until it is known to be another one.
func (k *keeper) has(field ir.Field) ir.Value {
	v, ok := k.now[field]
	if !ok {
		v = k.number(ir.Node{Op: ir.Var, Index: len(k.numbers)})
		k.now[field] = v
	}
	return v
}

// look finds what a pass computes again, and notes what is new behind it.
func (k *keeper) look(pass int) {
	q := &k.program.Passes[pass]
	f, elements := q.Graph, q.Domain == rule.OfElements
	if q.Tensor != nil {
		for _, s := range q.Tensor.Stores {
			if v := q.Tensor.Vars[s.Var]; v.Bank == kernels.OutputsBank {
				delete(k.now, ir.Field{Bank: rule.TensorBank, Index: v.Index})
			}
		}
	}
	for _, fold := range q.Folds {
		delete(k.now, ir.Field{Bank: planesBank, Index: fold.To})
	}
	numbers, long := make([]ir.Value, len(f.Nodes)), make([]bool, len(f.Nodes))
	for i, n := range f.Nodes {
		if n.Op == ir.Var {
			numbers[i] = k.has(k.field(f, n.Index))
			continue
		}
		long[i] = q.Varying[i] && (n.Op == ir.Div || n.Op == ir.Sqrt)
		args := [3]ir.Value{}
		for j, a := range n.Args() {
			args[j] = numbers[a]
			long[i] = long[i] || long[a]
		}
		n.A, n.B, n.C = args[0], args[1], args[2]
		numbers[i] = k.number(n)
	}
	if elements {
		k.find(pass, numbers, long)
	}
	for _, s := range f.Stores {
		field := k.field(f, s.Var)
		if delete(k.now, field); elements && s.Var < len(k.program.Planes) && k.program.Planes[s.Var].Domain == q.Domain && f.Vars[s.Var].Type == ir.Float {
			k.now[field] = numbers[s.Value]
		}
	}
}

// find notes the nodes of a pass that an earlier one has computed and that take long: of those that need each other, the last.
func (k *keeper) find(pass int, numbers []ir.Value, long []bool) {
	f := k.program.Passes[pass].Graph
	k.finds[pass] = map[ir.Value]int{}
	seen := make([]bool, len(f.Nodes))
	var visit func(v ir.Value)
	visit = func(v ir.Value) {
		if seen[v] {
			return
		}
		seen[v] = true
		if m, ok := k.made[numbers[v]]; ok && long[v] && f.Kind(v) == ir.Number {
			place := slices.Index(k.kept, m)
			if place < 0 {
				place, k.kept = len(k.kept), append(k.kept, m)
			}
			k.finds[pass][v] = place
			return
		}
		for _, a := range f.Nodes[v].Args() {
			visit(a)
		}
	}
	for _, s := range f.Stores {
		visit(s.Value)
	}
	for v, x := range numbers {
		if _, ok := k.made[x]; !ok {
			k.made[x] = madeNode{pass, ir.Value(v)}
		}
	}
}

// pass is a pass that keeps and finds. Uniforms are those of the program's, in the same order, as the two share blocks: what is not needed has no use.
func (k *keeper) pass(pass int) keptPass {
	q := keptPass{Pass: k.program.Passes[pass]}
	f := *q.Graph
	f.Vars, f.Nodes, f.Stores, q.Stores, q.Varying = slices.Clone(f.Vars), slices.Clone(f.Nodes), slices.Clone(f.Stores), slices.Clone(q.Stores), slices.Clone(q.Varying)
	add := func(place int) int {
		q.places = append(q.places, place)
		f.Vars = append(f.Vars, ir.Field{Bank: rule.ElemBank, Index: len(f.Vars), Name: "kept"})
		return len(f.Vars) - 1
	}
	for place, m := range k.kept {
		for v, at := range k.finds[pass] {
			if at == place {
				f.Nodes[v] = ir.Node{Op: ir.Var, Index: add(place)}
			}
		}
		if m.pass == pass {
			i := add(place)
			f.Stores, q.Stores = append(f.Stores, ir.Store{Var: i, Value: m.node}), append(q.Stores, i)
		}
	}
	if q.places == nil {
		return q
	}
	needed := make([]bool, len(f.Nodes))
	for _, s := range f.Stores {
		needed[s.Value] = true
	}
	for v := len(f.Nodes) - 1; v >= 0; v-- {
		if !needed[v] {
			f.Nodes[v], q.Varying[v] = ir.Node{Op: ir.Const}, false
			continue
		}
		for _, a := range f.Nodes[v].Args() {
			needed[a] = true
		}
	}
	q.Graph, q.Loads = &f, slices.DeleteFunc(f.Loads(), func(i int) bool { return i >= len(k.program.Planes) && i < len(k.program.Passes[pass].Graph.Vars) })
	return q
}

// operations is how long the pass takes, about: of an element, in additions.
func (q *keptPass) operations() int {
	const division, fill = 4, 4 // a term is widened, and that in two halves
	n := fill * len(q.Fills)
	for v := range q.Graph.Nodes {
		switch op := q.Graph.Nodes[v].Op; {
		case !q.Varying[v] || op == ir.Var:
		case op == ir.Div || op == ir.Sqrt:
			n += division
		default:
			n++
		}
	}
	return max(n, 1)
}
