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
	op   ir.Op // of a store: none
	dst  value
	args []value
	slot int // of a store
}

// Operations beside ir's.
const (
	store  = ir.Op(255) - iota // args[0] to a slot
	orZero                     // with AVX2: 0 where args[1] is true, args[0] elsewhere
)

// class is where a value is.
func (c *compiler) class(v value) int { return int(c.classes[v]) }

// index finds what each node is, and where what is in memory stands.
func (c *compiler) index() error {
	f := c.Func
	n := len(f.Nodes)
	c.inBlock, c.slotOf, c.varOf = make([]int, n+Head), make([]int, n), make([]value, len(c.Slots))
	c.names = append(append([]string(nil), f.Names...), "sign", "all but sign", "all")
	c.classes = make([]uint8, n+Head)
	c.fields = map[int]int{}
	for i, s := range c.Slots {
		c.fields[s.Var], c.varOf[i] = i, -1
	}
	for i := range c.inBlock {
		c.inBlock[i] = i - n // that of the head is there, nodes are not
	}
	for i, u := range c.Uniforms {
		c.inBlock[u] = Head + i
	}
	for i := range f.Nodes {
		node := &f.Nodes[i]
		switch {
		case c.names[i] != "":
		case node.Op == ir.Var:
			c.names[i] = f.Vars[node.Index].Name
		case node.Op == ir.Const:
			c.names[i] = strconv.FormatFloat(math.Float64frombits(node.Bits), 'g', -1, 64)
		}
		if c.Set.wide && f.IsBool(ir.Value(i)) {
			c.classes[i] = masks
		}
		c.slotOf[i] = -1
		if c.Varying[i] && node.Op == ir.Var {
			s, ok := c.fields[node.Index]
			if !ok {
				return fmt.Errorf("emit: %s: %s is in no slot", f.Name, f.Vars[node.Index].Name)
			}
			c.slotOf[i], c.varOf[s] = s, value(i)
		}
	}
	for _, s := range f.Stores {
		if _, ok := c.fields[s.Var]; !ok {
			return fmt.Errorf("emit: %s: %s is in no slot", f.Name, f.Vars[s.Var].Name)
		}
	}
	return nil
}

// schedule orders the operations and stores, and finds who uses what. A slot is stored to as soon as its new value is there and
// nothing needs the old one.
func (c *compiler) schedule() error {
	f := c.Func
	n := len(f.Nodes)
	last := make([]int, n) // the node that uses each last; n if a store does
	for i := range f.Nodes {
		for _, a := range f.Nodes[i].Args() {
			last[a] = i
		}
	}
	for _, s := range f.Stores {
		last[s.Value] = n
	}
	stored := make([]bool, len(f.Stores))
	storeAfter := func(node int) { // n: all that is left
		for k, s := range f.Stores {
			slot := c.fields[s.Var]
			old := c.varOf[slot]
			ready := c.Varying[s.Value] && c.slotOf[s.Value] < 0 && int(s.Value) <= node && (old < 0 || last[old] <= node)
			if !stored[k] && (ready || node == n) {
				stored[k] = true
				c.steps = append(c.steps, step{op: store, dst: -1, args: []value{value(s.Value)}, slot: slot})
			}
		}
	}
	for i := range f.Nodes {
		if c.Varying[i] && f.Nodes[i].Op != ir.Var {
			c.steps = append(c.steps, c.step(value(i)))
			storeAfter(i)
		}
	}
	storeAfter(n)
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

// step is the operation of a node. The bits that a sign or a Not needs are operands, too.
func (c *compiler) step(v value) step {
	f := c.Func
	sign, magnitude, ones := value(len(f.Nodes)), value(len(f.Nodes)+1), value(len(f.Nodes)+2)
	node := &f.Nodes[v]
	s := step{op: node.Op, dst: v}
	for _, a := range node.Args() {
		s.args = append(s.args, value(a))
	}
	switch {
	case node.Op == ir.Neg:
		s.args = append(s.args, sign)
	case node.Op == ir.Abs:
		s.args = append(s.args, magnitude)
	case node.Op == ir.Not && !c.Set.wide:
		s.args = append(s.args, ones)
	case node.Op == ir.Select && !c.Set.wide && f.Nodes[node.A].Op == ir.Const && f.Nodes[node.A].Bits == 0:
		s.op, s.args = orZero, s.args[1:]
	}
	return s
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
