package emit

import (
	"fmt"
	"math"
	"strconv"

	"github.com/fusestep/fusestep/kernels/ir"
)

// value is a node of the graph, or one of the numbers at the head of the block, which come behind the nodes.
type value int

// Classes of values, by the registers that they are in.
const (
	vectors = iota
	masks   // truth values, with AVX-512
)

// step is what the body of the loop does at a time: an operation of the graph, or a store.
type step struct {
	op    ir.Op // of a store: none
	dst   value
	args  []value
	plane int   // of a store
	more  []int // of a store to a fill: other fills of the same term
	inner ir.Op // of ternary
}

// Operations beside ir's.
const (
	store         = ir.Op(255) - iota // args[0] to a plane
	storeHalf                         // args[0], a number, to a plane of halves
	orZero                            // with AVX2: 0 where args[1] is true, args[0] elsewhere
	storeUpper                        // the upper half of args[0], a word, to a plane of 16 bits; dst is the node that shifts it
	upperHalf                         // args[0], a plane of 16 bits, as a word's upper half; args[1] is the mask of that
	tiny                              // with AVX-512: |args[0]| is less than the least normal number
	quieted                           // with AVX-512: args[0], but where the number args[1] is NaN that, made quiet, as args[2] says
	estimatedRoot                     // with AVX-512: see roots.go
	ternary                           // with AVX-512: args[2] and what the inner operation makes of args[0] and args[1], bit by bit
	maximum                           // with AVX-512: rule.Max of args[0] and args[1]
	minimum                           // likewise
	roundedSum                        // with AVX2: args[0] + args[1], but args[0] where args[2] is true
)

// The numbers at the head of the block.
const (
	signMask = iota
	magnitudeMask
	onesMask
	upperMask
	quietTable
	half
	rootLeast
)

func (c *compiler) head(i int) value { return value(len(c.Func.Nodes) + i) }

// class is where a value is.
func (c *compiler) class(v value) int { return int(c.classes[v]) }

// index finds what each node is, and where what is in memory stands.
func (c *compiler) index() error {
	f := c.Func
	n := len(f.Nodes)
	c.inBlock, c.planeOf, c.varOf = make([]int, n+Head), make([]int, n), make([]value, len(c.Planes)+len(c.Fills))
	c.names = append(append([]string(nil), f.Names...), "sign", "all but sign", "all", "upper half", "quiet", "1/2", "least root")
	c.classes = make([]uint8, n+Head)
	c.fields = map[int]int{}
	c.roots, c.bits, c.quiet = make([]value, n), make([]uint8, n), make([]bool, n)
	c.sizes, c.places = make([]int, len(c.Planes)), make([]int, len(c.Planes))
	for i, v := range c.Planes {
		c.fields[v], c.varOf[i], c.sizes[i] = i, -1, f.Vars[v].Type.Size(f.Width)
	}
	c.split = c.canSplit()
	c.columnsAt = make([]int, len(c.Fills))
	for i, fill := range c.Fills {
		if fill.Columns {
			c.columnsAt[i], c.sizes = len(c.sizes), append(c.sizes, doubles)
		}
		c.fields[fill.Var], c.varOf[len(c.Planes)+i] = len(c.Planes)+i, -1
	}
	for i := range c.inBlock {
		c.inBlock[i] = i - n // that of the head is there, nodes are not
	}
	for i, u := range c.Uniforms {
		c.inBlock[u] = Head + i
	}
	for i := range f.Nodes {
		node := &f.Nodes[i]
		if c.size == 8 && (node.Op == ir.ToBits || node.Op == ir.ToHalf) {
			return fmt.Errorf("emit: %s: node %d is %v, which is not for numbers of 64 bits", f.Name, i, node.Op)
		}
		c.roots[i], c.bits[i], c.quiet[i] = value(i), c.wordBits(ir.Value(i)), c.isQuiet(node)
		if c.size == 4 && c.Varying[i] && (node.Op == ir.FromBits || node.Op == ir.ToBits) {
			c.roots[i] = c.roots[node.A]
			if c.names[c.roots[i]] == "" {
				c.names[c.roots[i]] = c.names[i]
			}
		}
		switch {
		case c.names[i] != "":
		case node.Op == ir.Var:
			c.names[i] = f.Vars[node.Index].Name
		case node.Op == ir.Const:
			c.names[i] = strconv.FormatFloat(math.Float64frombits(node.Bits), 'g', -1, 64)
		case node.Op == ir.Word:
			c.names[i] = fmt.Sprintf("%#x", node.Bits)
		case node.Op == ir.Element:
			c.names[i] = [...]string{"index", "index, high"}[node.Index]
		}
		if c.Set.wide && f.IsBool(ir.Value(i)) {
			c.classes[i] = masks
		}
		c.planeOf[i] = -1
		if c.Varying[i] && node.Op == ir.Var {
			s, ok := c.fields[node.Index]
			if !ok || s >= len(c.Planes) {
				return fmt.Errorf("emit: %s: %s is in no plane", f.Name, f.Vars[node.Index].Name)
			}
			c.planeOf[i], c.varOf[s] = s, value(i)
		}
	}
	for _, s := range f.Stores {
		if _, ok := c.fields[s.Var]; !ok {
			return fmt.Errorf("emit: %s: %s is in no plane", f.Name, f.Vars[s.Var].Name)
		}
	}
	return nil
}

// schedule orders the operations and stores, and finds who uses what. A plane is stored to as soon as its new value is there and
// nothing needs the old one.
func (c *compiler) schedule() error {
	f := c.Func
	n := len(f.Nodes)
	used, user := make([]int, n), make([]int, n) // how often each is used, and the last node that does
	for i := range f.Nodes {
		for _, a := range f.Nodes[i].Args() {
			used[c.roots[a]]++
			user[c.roots[a]] = i
		}
	}
	for _, s := range f.Stores {
		used[c.roots[s.Value]]++
	}
	last := make([]int, n)      // the node whose step needs each last; n if a store does; -1: none
	byStore := make([]ir.Op, n) // of nodes that need no step: the store that does it
	for i := range last {
		last[i] = -1
	}
	for _, s := range f.Stores {
		v := c.roots[s.Value]
		last[v] = n
		switch node := &f.Nodes[v]; {
		case !c.Varying[v] || used[v] != 1 || f.Vars[s.Var].Type != ir.U16:
		case node.Op == ir.ToHalf:
			byStore[v] = storeHalf
		case node.Op == ir.WShr && node.Index == 16 && c.split:
			byStore[v] = storeUpper
		}
	}
	steps := make([]step, n)
	for i := n - 1; i >= 0; i-- {
		v := value(i)
		if !c.Varying[i] || c.roots[i] != v || last[i] < 0 {
			continue
		}
		steps[i] = c.step(v, used, user)
		for _, a := range steps[i].args {
			if int(a) < n {
				last[a] = max(last[a], i)
			}
		}
	}
	stored := make([]bool, len(f.Stores))
	storeAfter := func(node int) { // n: all that is left
		for k, s := range f.Stores {
			plane, v := c.fields[s.Var], c.roots[s.Value]
			old := c.varOf[plane]
			ready := c.Varying[v] && c.planeOf[v] < 0 && int(v) <= node && (old < 0 || last[old] <= node)
			if stored[k] || !ready && node < n {
				continue
			}
			stored[k] = true
			s := step{op: store, dst: -1, args: []value{v}, plane: plane}
			if op := byStore[v]; op != 0 {
				s.op, s.dst, s.args[0] = op, v, c.roots[f.Nodes[v].A]
				if op == storeUpper && c.Set.wide {
					s.args = append(s.args, c.head(upperMask))
				}
			}
			c.steps = append(c.steps, s)
		}
	}
	for i := range f.Nodes {
		if c.Varying[i] && f.Nodes[i].Op != ir.Var {
			if c.roots[i] == value(i) && byStore[i] == 0 && last[i] >= 0 {
				c.steps = append(c.steps, steps[i])
			}
			storeAfter(i)
		}
	}
	storeAfter(n)
	c.joinFills()
	c.uses = make([][]int, n+Head)
	for p, s := range c.steps {
		for _, a := range s.args {
			c.uses[a] = append(c.uses[a], p)
			if int(a) < n && !c.Varying[a] && c.inBlock[a] < 0 {
				return fmt.Errorf("emit: %s: node %d is the same for all elements, but not among the uniforms", f.Name, a)
			}
		}
	}
	return nil
}

// joinFills makes one step of the stores of a term to several fills, so that it is widened once.
func (c *compiler) joinFills() {
	first := map[value]int{}
	kept := c.steps[:0]
	for _, s := range c.steps {
		if s.op == store && c.isFill(&s) {
			if i, ok := first[s.args[0]]; ok {
				kept[i].more = append(kept[i].more, s.plane)
				continue
			}
			first[s.args[0]] = len(kept)
		}
		kept = append(kept, s)
	}
	c.steps = kept
}

// step is the operation of a node. The bits that a sign or a Not needs are operands, too.
func (c *compiler) step(v value, used, user []int) step {
	if s, ok := c.fuse(int(v), used, user); ok {
		return s
	}
	node := &c.Func.Nodes[v]
	s := step{op: node.Op, dst: v}
	for _, a := range node.Args() {
		s.args = append(s.args, c.roots[a])
	}
	switch {
	case node.Op == ir.Neg:
		s.args = append(s.args, c.head(signMask))
	case node.Op == ir.Sqrt && c.Set.roots && c.size == 4:
		s.op, s.args = estimatedRoot, append(s.args, c.head(half), c.head(rootLeast))
	case node.Op == ir.Abs:
		s.args = append(s.args, c.head(magnitudeMask))
	case (node.Op == ir.Not || node.Op == ir.WLt && c.size == 4) && !c.Set.wide:
		s.args = append(s.args, c.head(onesMask))
	case node.Op == ir.Select && !c.Set.wide && c.isZero(node.A):
		s.op, s.args = orZero, s.args[1:]
	}
	return s
}

// isZero says whether all bits of a node are 0 as it is known.
func (c *compiler) isZero(v ir.Value) bool {
	n := &c.Func.Nodes[v]
	return (n.Op == ir.Const || n.Op == ir.Word) && n.Bits == 0
}

// registers is how many registers of a class there are.
func (c *compiler) registers(class int) int {
	if class == masks {
		return 7 // K0 means no mask
	}
	return c.Set.number
}

// register is the register of the i-th uniform that is kept.
func (c *compiler) register(class, i int) int {
	if class == masks {
		return 7 - i
	}
	return c.Set.number - 1 - i
}
