package emit

import (
	"math"
	"slices"

	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// quietBit is 1 in a NaN that is quiet.
const quietBit = 0x400000

// The operands of VPTERNLOGD: what an expression makes of these numbers is its immediate.
const (
	ternaryA = 0xF0
	ternaryB = 0xCC
	ternaryC = 0xAA
)

// fuse is the step that computes a node together with some of its operands, if there is one. used is how often each node is used, user where.
func (c *compiler) fuse(i int, used, user []int) (s step, ok bool) {
	node := &c.Func.Nodes[i]
	s.dst = value(i)
	switch {
	case node.Op == ir.Lt && c.Set.wide:
		ok = c.fuseTiny(node, &s)
	case node.Op == ir.Select && c.Set.wide:
		ok = c.fuseQuieted(node, &s) || c.fuseExtreme(node, &s)
	case node.Op == ir.Select && used[i] == 1:
		ok = c.fuseRounded(node, &s, used, user)
	case bitwise[node.Op] != nil && c.Set.wide:
		ok = c.fuseTernary(node, &s, used)
	case node.Op == ir.WShl && node.Index == 16 && c.split:
		s.op, s.args = upperHalf, []value{c.roots[node.A], c.head(upperMask)}
		ok = c.planeOf[c.roots[node.A]] >= 0
	}
	return s, ok
}

// root is the node that a value's bits come from.
func (c *compiler) root(v ir.Value) (value, *ir.Node) {
	r := c.roots[v]
	return r, &c.Func.Nodes[r]
}

// fuseTiny finds |x| < the least normal number.
func (c *compiler) fuseTiny(node *ir.Node, s *step) bool {
	least := map[int]float64{4: 0x1p-126, 8: 0x1p-1022}[c.size]
	_, abs := c.root(node.A)
	_, k := c.root(node.B)
	s.op, s.args = tiny, []value{c.roots[abs.A]}
	return abs.Op == ir.Abs && k.Op == ir.Const && k.Bits == math.Float64bits(least)
}

// quietArms says whether a Select is x != x ? bits of x | quietBit : something, of which x and which condition. x differs between elements: only
// then are its bits the same value.
func (c *compiler) quietArms(node *ir.Node) (x, isNaN value, ok bool) {
	isNaN, ne := c.root(node.C)
	_, or := c.root(node.A)
	if c.size != 4 || ne.Op != ir.Ne || ne.A != ne.B || or.Op != ir.WOr {
		return 0, 0, false
	}
	x, bits, bit := c.roots[ne.A], or.A, or.B
	if c.roots[bits] != x {
		bits, bit = bit, bits
	}
	k := &c.Func.Nodes[bit]
	return x, isNaN, c.roots[bits] == x && k.Op == ir.Word && k.Bits == quietBit
}

// fuseQuieted finds x != x ? bits of x | quietBit : y.
func (c *compiler) fuseQuieted(node *ir.Node, s *step) bool {
	x, _, ok := c.quietArms(node)
	s.op, s.args = quieted, []value{c.roots[node.B], x, c.head(quietTable)}
	return ok
}

// fuseExtreme finds x < y || y != y ? y : x, which is rule.Max, and y < x || y != y ? y : x, which is rule.Min.
func (c *compiler) fuseExtreme(node *ir.Node, s *step) bool {
	_, or := c.root(node.C)
	lt, ne := &c.Func.Nodes[c.roots[or.A]], &c.Func.Nodes[c.roots[or.B]]
	y, x := c.roots[node.A], c.roots[node.B]
	if c.size != 4 || or.Op != ir.Or || lt.Op != ir.Lt || ne.Op != ir.Ne || c.roots[ne.A] != y || c.roots[ne.B] != y {
		return false
	}
	s.args = []value{y, x, c.head(quietTable)}
	switch a, b := c.roots[lt.A], c.roots[lt.B]; {
	case a == x && b == y:
		s.op = maximum
	case a == y && b == x:
		s.op = minimum
	default:
		return false
	}
	return true
}

// fuseRounded finds a Select of which just the upper half is used: x != x ? bits of x | quietBit : (bits of x | y) + z. If y has no bits in that
// half, and x is quiet where it is NaN, the half is that of (bits of x | y) + (x != x ? 0 : z), too.
func (c *compiler) fuseRounded(node *ir.Node, s *step, used, user []int) bool {
	shift := &c.Func.Nodes[user[s.dst]]
	x, isNaN, ok := c.quietArms(node)
	sum, add := c.root(node.B)
	if !ok || !c.quiet[x] || shift.Op != ir.WShr || shift.Index != 16 || add.Op != ir.WAdd || used[sum] != 1 {
		return false
	}
	for _, terms := range [][2]ir.Value{{add.A, add.B}, {add.B, add.A}} {
		u, or := c.root(terms[0])
		s.op, s.args = roundedSum, []value{u, c.roots[terms[1]], isNaN}
		for _, arms := range [][2]ir.Value{{or.A, or.B}, {or.B, or.A}} {
			if y := c.roots[arms[1]]; or.Op == ir.WOr && c.roots[arms[0]] == x && c.bits[y] <= 16 {
				return true
			}
		}
	}
	return false
}

// fuseTernary finds two bitwise operations.
func (c *compiler) fuseTernary(node *ir.Node, s *step, used []int) bool {
	for _, order := range [][2]ir.Value{{node.A, node.B}, {node.B, node.A}} {
		v, inner := c.root(order[0])
		s.op, s.args, s.inner = ternary, []value{c.roots[inner.A], c.roots[inner.B], c.roots[order[1]]}, inner.Op
		if bitwise[inner.Op] != nil && c.Varying[v] && used[v] == 1 {
			return true
		}
	}
	return false
}

// bitwise is what VPTERNLOGD's immediate is made with.
var bitwise = map[ir.Op]func(x, y int) int{
	ir.WAnd: func(x, y int) int { return x & y },
	ir.WOr:  func(x, y int) int { return x | y },
	ir.WXor: func(x, y int) int { return x ^ y },
}

// isQuiet says whether a node is a number that no signalling NaN can be.
func (c *compiler) isQuiet(node *ir.Node) bool {
	switch node.Op {
	case ir.Add, ir.Sub, ir.Mul, ir.Div, ir.Sqrt, ir.Const:
		return true
	case ir.Select:
		return c.quiet[node.A] && c.quiet[node.B]
	}
	return false
}

// dies says whether a step's operand has a register that is free after it.
func (b *body) dies(s *step, v value) bool {
	n := 0
	for _, a := range s.args {
		if a == v {
			n++
		}
	}
	r := b.in[v]
	return r >= 0 && b.files[vectors].holds[r] == v && b.left(v) == n
}

// change is a register with an operand, which the step's instruction changes into its result. Other operands are ready by then.
func (b *body) change(s *step, v value) x86.Arg {
	r := b.register(v)
	if b.dies(s, v) {
		b.over(s)
		b.files[vectors].holds[r], b.in[s.dst] = s.dst, r
		return x86.V(r)
	}
	to := x86.V(b.take(vectors, s.dst))
	b.over(s)
	b.vector(x86.VMOVUPS, "", to, x86.V(r))
	return to
}

// quieted takes a NaN from its second operand, and what is no NaN from the first.
func (b *body) quieted(s *step) {
	b.register(s.args[0])
	x, table := x86.V(b.register(s.args[1])), b.operand(s.args[2])
	b.vector(x86.VFIXUPIMMPS, b.names[s.dst], b.change(s, s.args[0]), x, table, x86.Imm(0))
}

// extreme takes the second operand where the processor's instruction does, but for a NaN in the first.
func (b *body) extreme(s *step) {
	op, name := map[ir.Op]x86.Op{maximum: x86.VMAXPS, minimum: x86.VMINPS}[s.op], b.names[s.dst]
	y, x, table := x86.V(b.register(s.args[0])), b.operand(s.args[1]), b.operand(s.args[2])
	to := b.between()
	b.vector(op, name, to, y, x)
	b.vector(x86.VFIXUPIMMPS, name, to, y, table, x86.Imm(0))
	b.over(s)
	b.become(s.dst, to)
}

// become makes the register of what was between that of a value.
func (b *body) become(v value, r x86.Arg) {
	b.files[vectors].holds[r.Number()], b.in[v] = v, r.Number()
}

// ternary changes an operand that is not needed again, if there is one.
func (b *body) ternary(s *step) {
	args, numbers := [3]value(s.args), [3]int{ternaryA, ternaryB, ternaryC}
	if k := slices.IndexFunc(s.args, func(v value) bool { return b.dies(s, v) }); k > 0 {
		args[0], args[k] = args[k], args[0]
		numbers[0], numbers[k] = numbers[k], numbers[0]
	}
	outer, inner := bitwise[b.Func.Nodes[s.dst].Op], bitwise[s.inner]
	b.register(args[0])
	y, z := x86.V(b.register(args[1])), x86.V(b.register(args[2]))
	b.words(x86.VPTERNLOGD, b.names[s.dst], b.change(s, args[0]), y, z, x86.Imm(outer(inner(numbers[0], numbers[1]), numbers[2])))
}

// roundedSum adds nothing where the condition is true.
func (b *body) roundedSum(s *step) {
	name := b.names[s.dst]
	u, condition := x86.V(b.register(s.args[0])), x86.V(b.register(s.args[2]))
	z := b.operand(s.args[1])
	t := b.between()
	b.vector(x86.VANDNPS, name, t, condition, z)
	b.over(s)
	b.words(x86.VPADDD, name, x86.V(b.take(vectors, s.dst)), u, t)
	b.release(t)
}
