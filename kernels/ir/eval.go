package ir

import (
	"math"
	"math/bits"
	"slices"
)

// Eval runs f on the fields' values, one a Var, and replaces those that f stores. F must have f's width: this is the
// meaning of the graph, to which everything that is made from it is held.
func Eval[F float32 | float64](f *Func, vars []F) { NewEvaluator[F](f).Run(vars) }

// Evaluator runs one graph many times.
type Evaluator[F float32 | float64] struct {
	Words []uint32 // one a Var: the values of fields that are words, which Run reads and replaces
	Index uint64   // of the element, the first of those that RunEach is given

	f     *Func
	order []Value // the nodes that are computed
	nodes []lanes[F]
	lanes int   // elements that there is room for
	vars  [][]F // what Run is given, as RunEach takes it
	words [][]uint32
}

// lanes are what a node is for some elements: one of the three, by its kind.
type lanes[F float32 | float64] struct {
	kind  Kind
	num   []F
	truth []bool
	word  []uint32
}

// maxLanes is the elements for which a node is computed before the next node is. Many share the cost of looking at the node, and the
// values of all nodes stay in the first-level cache.
const maxLanes = 128

// NewEvaluator makes an evaluator. It is for one goroutine.
func NewEvaluator[F float32 | float64](f *Func) *Evaluator[F] {
	e := &Evaluator[F]{Words: make([]uint32, len(f.Vars)), f: f, nodes: make([]lanes[F], len(f.Nodes)), vars: make([][]F, len(f.Vars))}
	for i := range e.nodes {
		e.nodes[i].kind = f.Kind(Value(i))
		e.order = append(e.order, Value(i))
	}
	for _, v := range f.Vars {
		if v.Type != Float {
			e.words = make([][]uint32, len(f.Vars))
		}
	}
	e.makeLanes(1)
	return e
}

// NewUniformEvaluator makes an evaluator of the nodes that do not depend on the banks, for Number, Condition and Integer. It stores nothing.
func NewUniformEvaluator[F float32 | float64](f *Func, banks ...int) *Evaluator[F] {
	g, varying := *f, f.Varying(banks...)
	g.Stores = nil
	e := NewEvaluator[F](&g)
	e.order = slices.DeleteFunc(e.order, func(v Value) bool { return varying[v] })
	return e
}

func (e *Evaluator[F]) makeLanes(n int) {
	e.lanes = n
	var count [3]int
	for i := range e.nodes {
		count[e.nodes[i].kind] += n
	}
	num, truth, word := make([]F, count[Number]), make([]bool, count[Truth]), make([]uint32, count[Integer])
	for i := range e.nodes {
		switch d := &e.nodes[i]; d.kind {
		case Number:
			d.num, num = num[:n], num[n:]
		case Truth:
			d.truth, truth = truth[:n], truth[n:]
		case Integer:
			d.word, word = word[:n], word[n:]
		}
	}
}

// Run is Eval.
func (e *Evaluator[F]) Run(vars []F) {
	for i := range e.vars {
		e.vars[i] = vars[i : i+1]
	}
	for i := range e.words {
		e.words[i] = e.Words[i : i+1]
	}
	e.run(e.vars, e.words, 0, 1)
}

// RunAgain computes nodes again, in order, by what the vars of the last Run are now and what other nodes were then.
func (e *Evaluator[F]) RunAgain(nodes []Value) {
	for _, v := range nodes {
		e.node(v, e.vars, e.words, 0, 1)
	}
}

// RunEach is Run for n elements with consecutive indices. Vars has n values of each field that is a number, words of each that is a word;
// of a field that is not stored it may have one, for all elements. Words may be nil if no field is a word.
func (e *Evaluator[F]) RunEach(n int, vars [][]F, words [][]uint32) {
	if e.lanes < min(n, maxLanes) {
		e.makeLanes(min(n, maxLanes))
	}
	for lo := 0; lo < n; lo += e.lanes {
		e.run(vars, words, lo, min(e.lanes, n-lo))
	}
}

// run runs n elements from lo on.
func (e *Evaluator[F]) run(vars [][]F, words [][]uint32, lo, n int) {
	for _, v := range e.order {
		e.node(v, vars, words, lo, n)
	}
	for _, s := range e.f.Stores {
		switch t := e.f.Vars[s.Var].Type; t {
		case Float:
			copy(vars[s.Var][lo:lo+n], e.nodes[s.Value].num)
		default:
			for k, x := range e.nodes[s.Value].word[:n] {
				words[s.Var][lo+k] = x & (math.MaxUint32 >> (32 - 8*t.Size(e.f.Width)))
			}
		}
	}
}

// node computes a node.
func (e *Evaluator[F]) node(v Value, vars [][]F, words [][]uint32, lo, n int) {
	node := &e.f.Nodes[v]
	switch d := &e.nodes[v]; d.kind {
	case Number:
		e.number(node, d.num[:n], vars, lo)
	case Truth:
		e.condition(node, d.truth[:n])
	case Integer:
		e.integer(node, d.word[:n], words, lo)
	}
}

// number computes a node that is a number.
func (e *Evaluator[F]) number(node *Node, d []F, vars [][]F, lo int) {
	a, b := e.nodes[node.A].num, e.nodes[node.B].num
	switch node.Op {
	case Var:
		load(d, vars[node.Index], lo)
	case Const:
		fill(d, F(math.Float64frombits(node.Bits)))
	case Add:
		a, b = a[:len(d)], b[:len(d)]
		for k := range d {
			d[k] = F(a[k] + b[k])
		}
	case Sub:
		a, b = a[:len(d)], b[:len(d)]
		for k := range d {
			d[k] = F(a[k] - b[k])
		}
	case Mul:
		a, b = a[:len(d)], b[:len(d)]
		for k := range d {
			d[k] = F(a[k] * b[k])
		}
	case Div:
		a, b = a[:len(d)], b[:len(d)]
		for k := range d {
			d[k] = F(a[k] / b[k])
		}
	case Sqrt:
		// The root of a float32 in float64, rounded to float32, is the correctly rounded root: 53 ≥ 2·24+2.
		for k, x := range a[:len(d)] {
			d[k] = F(math.Sqrt(float64(x)))
		}
	case Neg:
		for k, x := range a[:len(d)] {
			d[k] = -x
		}
	case Abs:
		for k, x := range a[:len(d)] {
			d[k] = F(math.Abs(float64(x)))
		}
	case Select:
		choose(d, e.nodes[node.C].truth, a, b)
	case FromBits:
		for k, x := range e.nodes[node.A].word[:len(d)] {
			d[k] = F(math.Float32frombits(x))
		}
	case FromHalf:
		for k, x := range e.nodes[node.A].word[:len(d)] {
			d[k] = F(FromFloat16(uint16(x)))
		}
	}
}

// condition computes a node that is a truth value.
func (e *Evaluator[F]) condition(node *Node, d []bool) {
	a, b := e.nodes[node.A].truth, e.nodes[node.B].truth
	switch node.Op {
	case Bool:
		fill(d, node.Index == 1)
	case Lt, Le, Eq, Ne:
		compare(node.Op, d, e.nodes[node.A].num, e.nodes[node.B].num)
	case WLt:
		compare(Lt, d, e.nodes[node.A].word, e.nodes[node.B].word)
	case WEq:
		compare(Eq, d, e.nodes[node.A].word, e.nodes[node.B].word)
	case And:
		for k := range d {
			d[k] = a[k] && b[k]
		}
	case Or:
		for k := range d {
			d[k] = a[k] || b[k]
		}
	case Not:
		for k := range d {
			d[k] = !a[k]
		}
	case Select:
		choose(d, e.nodes[node.C].truth, a, b)
	}
}

// integer computes a node that is a word.
func (e *Evaluator[F]) integer(node *Node, d []uint32, words [][]uint32, lo int) {
	a, b := e.nodes[node.A].word, e.nodes[node.B].word
	switch node.Op {
	case Var:
		load(d, words[node.Index], lo)
	case Word:
		fill(d, uint32(node.Bits))
	case Element:
		for k := range d {
			d[k] = uint32((e.Index + uint64(lo+k)) >> (32 * node.Index))
		}
	case ToBits:
		for k, x := range e.nodes[node.A].num[:len(d)] {
			d[k] = math.Float32bits(float32(x))
		}
	case ToHalf:
		for k, x := range e.nodes[node.A].num[:len(d)] {
			d[k] = uint32(ToFloat16(float32(x)))
		}
	case WAdd:
		for k := range d {
			d[k] = a[k] + b[k]
		}
	case WSub:
		for k := range d {
			d[k] = a[k] - b[k]
		}
	case WMul:
		for k := range d {
			d[k] = a[k] * b[k]
		}
	case WMulHigh:
		for k := range d {
			d[k] = uint32(uint64(a[k]) * uint64(b[k]) >> 32)
		}
	case WAnd:
		for k := range d {
			d[k] = a[k] & b[k]
		}
	case WOr:
		for k := range d {
			d[k] = a[k] | b[k]
		}
	case WXor:
		for k := range d {
			d[k] = a[k] ^ b[k]
		}
	case WShl:
		for k := range d {
			d[k] = a[k] << node.Index
		}
	case WShr:
		for k := range d {
			d[k] = a[k] >> node.Index
		}
	case WRotl:
		for k := range d {
			d[k] = bits.RotateLeft32(a[k], node.Index)
		}
	case Select:
		choose(d, e.nodes[node.C].truth, a, b)
	}
}

// load takes a field's values from lo on, or the one that is for all elements.
func load[T any](d, field []T, lo int) {
	if len(field) == 1 {
		fill(d, field[0])
	} else {
		copy(d, field[lo:lo+len(d)])
	}
}

func fill[T any](d []T, x T) {
	for k := range d {
		d[k] = x
	}
}

func choose[T any](d []T, c []bool, a, b []T) {
	c, a, b = c[:len(d)], a[:len(d)], b[:len(d)]
	for k := range d {
		x := b[k]
		if c[k] {
			x = a[k]
		}
		d[k] = x
	}
}

func compare[T float32 | float64 | uint32](op Op, d []bool, a, b []T) {
	a, b = a[:len(d)], b[:len(d)]
	switch op {
	case Lt:
		for k := range d {
			d[k] = a[k] < b[k]
		}
	case Le:
		for k := range d {
			d[k] = a[k] <= b[k]
		}
	case Eq:
		for k := range d {
			d[k] = a[k] == b[k]
		}
	case Ne:
		for k := range d {
			d[k] = a[k] != b[k]
		}
	}
}

// Number is what a node that is a number was in the last Run.
func (e *Evaluator[F]) Number(v Value) F { return e.nodes[v].num[0] }

// Integer is what a node that is a word was in the last Run.
func (e *Evaluator[F]) Integer(v Value) uint32 { return e.nodes[v].word[0] }

// Condition is what a node that is a truth value was in the last Run.
func (e *Evaluator[F]) Condition(v Value) bool { return e.nodes[v].truth[0] }
