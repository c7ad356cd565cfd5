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

// schedule orders the operations and stores, and finds who uses what. A slot is stored to as soon as its new value is there and
// nothing needs the old one.
func (c *compiler) schedule() error {
	f := c.Func
	n := len(f.Nodes)
	sign, magnitude, ones := value(n), value(n+1), value(n+2)
	c.uses = make([][]int, n+Head)
	c.inBits, c.slotOf, c.varOf = make([]int, n+Head), make([]int, n), make([]value, len(c.Slots))
	c.names = append(append([]string(nil), f.Names...), "sign", "all but sign", "all")
	c.classes = make([]uint8, n+Head)
	slot := map[int]int{} // of a field
	for i, s := range c.Slots {
		slot[s.Var] = i
		c.varOf[i] = -1
	}
	for i := range c.inBits {
		c.inBits[i] = i - n
	}
	for i, u := range c.Uniforms {
		c.inBits[u] = Head + i
	}
	last := make([]int, n) // the node that uses each last; n if a store does
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
		for _, a := range node.Args() {
			last[a] = i
			if c.Varying[i] && !c.Varying[a] && c.inBits[a] < 0 {
				return fmt.Errorf("emit: %s: node %d is the same for all elements, but not among the uniforms", f.Name, a)
			}
		}
		c.slotOf[i] = -1
		if c.Varying[i] && node.Op == ir.Var {
			s, ok := slot[node.Index]
			if !ok {
				return fmt.Errorf("emit: %s: %s is in no slot", f.Name, f.Vars[node.Index].Name)
			}
			c.slotOf[i], c.varOf[s] = s, value(i)
		}
	}
	for _, s := range f.Stores {
		last[s.Value] = n
	}
	stored := make([]bool, len(f.Stores))
	storeAt := func(node int) {
		for k, s := range f.Stores {
			i, ok := slot[s.Var]
			if stored[k] || !ok {
				continue
			}
			old := c.varOf[i]
			if node == n || c.Varying[s.Value] && c.slotOf[s.Value] < 0 && int(s.Value) <= node && (old < 0 || last[old] <= node) {
				stored[k] = true
				c.steps = append(c.steps, step{op: store, dst: -1, args: []value{value(s.Value)}, slot: i})
			}
		}
	}
	for i := range f.Nodes {
		node := &f.Nodes[i]
		if !c.Varying[i] || node.Op == ir.Var {
			continue
		}
		s := step{op: node.Op, dst: value(i)}
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
		c.steps = append(c.steps, s)
		storeAt(i)
	}
	storeAt(n)
	for p, s := range c.steps {
		for _, a := range s.args {
			c.uses[a] = append(c.uses[a], p)
		}
	}
	for _, s := range f.Stores {
		if _, ok := slot[s.Var]; !ok {
			return fmt.Errorf("emit: %s: %s is in no slot", f.Name, f.Vars[s.Var].Name)
		}
	}
	return nil
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
