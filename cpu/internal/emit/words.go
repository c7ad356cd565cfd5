package emit

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// wordOperations are those of two words that go word by word, also beside numbers of 64 bits: the zeros above remain.
var wordOperations = map[ir.Op]x86.Op{ir.WAdd: x86.VPADDD, ir.WSub: x86.VPSUBD, ir.WMul: x86.VPMULLD}

// nearest is how VCVTPS2PH rounds, whatever MXCSR says: to nearest even.
var nearest = x86.Imm(0)

// wordBits is how many of the lowest bits of a word may be 1.
func (c *compiler) wordBits(v ir.Value) uint8 {
	n := &c.Func.Nodes[v]
	a, b := c.bits[n.A], c.bits[n.B]
	switch n.Op {
	case ir.Var:
		if t := c.Func.Vars[n.Index].Type; t != ir.Float {
			return uint8(8 * t.Size(c.Func.Width))
		}
	case ir.Word:
		return uint8(bits.Len64(n.Bits))
	case ir.ToHalf:
		return 16
	case ir.WShr:
		return a - min(a, uint8(n.Index))
	case ir.WAnd:
		return min(a, b)
	case ir.WOr, ir.WXor, ir.Select:
		return max(a, b)
	}
	return 32
}

// wordStep writes an operation that makes a word or takes one, and whose result is in a vector register.
func (b *body) wordStep(s *step) {
	name := b.names[s.dst]
	switch s.op {
	case ir.FromBits, ir.FromHalf:
		b.decode(s)
	case ir.ToHalf:
		x := x86.V(b.register(s.args[0]))
		b.over(s)
		to := x86.V(b.take(vectors, s.dst))
		b.vector(x86.VCVTPS2PH, name, to, x, nearest)
		b.vector(x86.VPMOVZXWD, name, to, to)
	case ir.WShl, ir.WShr:
		op := map[ir.Op]x86.Op{ir.WShl: x86.VPSLLD, ir.WShr: x86.VPSRLD}[s.op]
		x := x86.V(b.register(s.args[0]))
		b.over(s)
		b.words(op, name, x86.V(b.take(vectors, s.dst)), x, x86.Imm(b.Func.Nodes[s.dst].Index))
	case ir.WRotl:
		b.rotate(s)
	case ir.WMulHigh:
		b.mulHigh(s)
	case ir.WLt:
		b.less(s)
	case ir.WEq:
		x, y := b.two(s)
		b.over(s)
		b.vector(x86.VPCMPEQD, name, x86.V(b.take(vectors, s.dst)), x, y)
	case ir.Element:
		b.element(s)
	default:
		x, y := b.two(s)
		b.over(s)
		b.words(wordOperations[s.op], name, x86.V(b.take(vectors, s.dst)), x, y)
	}
}

// rotate writes WRotl.
func (b *body) rotate(s *step) {
	name, by := b.names[s.dst], b.Func.Nodes[s.dst].Index
	x := x86.V(b.register(s.args[0]))
	if b.Set.wide {
		b.over(s)
		b.words(x86.VPROLD, name, x86.V(b.take(vectors, s.dst)), x, x86.Imm(by))
		return
	}
	right, to := b.between(), x86.V(b.take(vectors, s.dst))
	b.words(x86.VPSRLD, name, right, x, x86.Imm(32-by))
	b.words(x86.VPSLLD, name, to, x, x86.Imm(by))
	b.words(x86.VORPS, name, to, to, right)
	b.release(right)
	b.over(s)
}

// words appends an operation on words, whatever the size of numbers.
func (c *compiler) words(op x86.Op, note string, args ...x86.Arg) {
	c.sized(op, c.Set.vector, 0, note, args...)
}

// two is a step's two operands, of which the second may be memory.
func (b *body) two(s *step) (x, y x86.Arg) {
	first, second := s.args[0], s.args[1]
	if s.op != ir.WSub && b.better(second, first) {
		first, second = second, first
	}
	x = x86.V(b.register(first))
	if b.size == 8 && b.Set.wide { // one word of memory for all would fill the upper halves, too
		return x, x86.V(b.register(second))
	}
	return x, b.operand(second)
}

// decode writes FromBits beside numbers of 64 bits, or FromHalf.
func (b *body) decode(s *step) {
	name, v := b.names[s.dst], s.args[0]
	size, half := 4, b.Set.vector/2
	if s.op == ir.FromHalf {
		size = 2
	}
	var to x86.Arg
	last := x86.VCVTPS2PD
	if b.size == 4 {
		last = x86.VCVTPH2PS
	}
	switch direct := b.unread(v, size); {
	case direct && 2*size == b.size:
		plane := b.planeOf[v]
		b.over(s)
		b.read(last, x86.V(b.take(vectors, s.dst)), plane, name)
		return
	case direct && (!b.Set.wide || b.mask < 0 && b.Set.number <= 16): // half a vector, of AVX2's registers
		m := b.memory(b.planeOf[v])
		b.over(s)
		to = x86.V(b.take(vectors, s.dst))
		b.sized(x86.VCVTPH2PS, half, 0, name, to, m)
	default:
		x := x86.V(b.register(v))
		b.over(s)
		to = x86.V(b.take(vectors, s.dst))
		b.pack(to, x, size, v, name)
		switch {
		case 2*size == b.size:
		case b.Set.wide:
			b.words(x86.VCVTPH2PS, name, to, to)
		default:
			b.sized(x86.VCVTPH2PS, half, 0, name, to, to)
		}
	}
	b.words(last, name, to, to)
}

// mulHigh writes WMulHigh. Beside numbers of 32 bits, the products at even places and those at odd ones are two vectors.
func (b *body) mulHigh(s *step) {
	name := b.names[s.dst]
	v, w := s.args[0], s.args[1]
	if b.inBlock[v] >= 0 {
		v, w = w, v
	}
	x, y := x86.V(b.register(v)), x86.V(b.register(w))
	word := x86.Imm(32)
	if b.size == 8 {
		b.over(s)
		to := x86.V(b.take(vectors, s.dst))
		b.words(x86.VPMULUDQ, name, to, x, y)
		b.words(x86.VPSRLQ, name, to, to, word)
		return
	}
	even, odd := b.between(), x86.V(b.take(vectors, s.dst))
	spent := []x86.Arg{even}
	b.words(x86.VPMULUDQ, name, even, x, y)
	b.words(x86.VPSRLQ, name, odd, x, word)
	if b.inBlock[w] < 0 { // otherwise it is the same at odd places
		t := b.between()
		b.words(x86.VPSRLQ, b.names[w], t, y, word)
		y, spent = t, append(spent, t)
	}
	b.words(x86.VPMULUDQ, name, odd, odd, y)
	b.words(x86.VSHUFPS, name, even, even, odd, places(1, 3, 1, 3))
	b.words(x86.VPSHUFD, name, odd, even, places(0, 2, 1, 3))
	b.release(spent...)
	b.over(s)
}

// less writes WLt with AVX2, which compares signed numbers only.
func (b *body) less(s *step) {
	name := b.names[s.dst]
	if b.size == 8 { // words are not negative there
		y, x := x86.V(b.register(s.args[1])), b.operand(s.args[0])
		b.over(s)
		b.words(x86.VPCMPGTQ, name, x86.V(b.take(vectors, s.dst)), y, x)
		return
	}
	// It is less unless it is the greater of the two.
	x, y, ones := x86.V(b.register(s.args[0])), b.operand(s.args[1]), b.operand(s.args[2])
	to := x86.V(b.take(vectors, s.dst))
	b.words(x86.VPMAXUD, name, to, x, y)
	b.words(x86.VPCMPEQD, name, to, to, x)
	b.words(x86.VXORPS, name, to, to, ones)
	b.over(s)
}

// wordTruth writes WLt and WEq with AVX-512.
func (b *body) wordTruth(s *step) {
	first, second, predicate := s.args[0], s.args[1], 0
	if s.op == ir.WLt {
		predicate = 1
	}
	if b.better(second, first) {
		first, second = second, first
		predicate *= 6 // greater, or still equal
	}
	x := x86.V(b.register(first))
	y := b.operand(second)
	b.over(s)
	b.vector(x86.VPCMPUD, b.names[s.dst], x86.K(b.take(masks, s.dst)), x, y, x86.Imm(predicate))
}

// hasElement says whether the graph uses the element's index.
func (c *compiler) hasElement() bool {
	return slices.ContainsFunc(c.Func.Nodes, func(n ir.Node) bool { return n.Op == ir.Element })
}

// reserveIndex is memory for what element needs.
func (c *compiler) reserveIndex() {
	vector := c.Set.vector
	c.indexAt, c.lowAt, c.highAt, c.firstAt = c.reserve(roundBytes), c.reserve(vector), c.reserve(vector), c.reserve(len(c.ordinals())/c.lanes()*vector)
}

// enterIndex makes what element needs from the index that the frame was given.
func (c *compiler) enterIndex() {
	vector, lanes := c.Set.vector, c.lanes()
	ordinals := c.ordinals()
	const behind = 8 // the index
	for k := 0; k < len(ordinals); k += 4 {
		c.sized(x86.MOVI, 0, 0, "", x86.Mem(frame, c.indexAt+behind+k), x86.Imm(int(binary.LittleEndian.Uint32(ordinals[k:]))))
	}
	index, low, high := x86.Mem(frame, c.indexAt), x86.V(0), x86.V(1)
	if c.size == 4 {
		c.vector(x86.VBROADCASTSS, "index", low, index)
		c.vector(x86.VBROADCASTSS, "index, high", high, index.Plus(4))
	} else {
		c.vector(x86.VBROADCASTSS, "index", high, index)
		c.words(x86.VPSLLQ, "index", low, high, x86.Imm(32))
		c.words(x86.VPSRLQ, "index", low, low, x86.Imm(32))
		c.words(x86.VPSRLQ, "index, high", high, high, x86.Imm(32))
	}
	c.vector(x86.VSTOREUPS, "index", x86.Mem(frame, c.lowAt), low)
	c.vector(x86.VSTOREUPS, "index, high", x86.Mem(frame, c.highAt), high)
	for k := range len(ordinals) / lanes {
		c.vector(x86.VPMOVZXBD, "", x86.V(2), index.Plus(behind+k*lanes))
		c.words(x86.VPADDD, "index", x86.V(2), x86.V(2), low)
		c.vector(x86.VSTOREUPS, "index", x86.Mem(frame, c.firstAt+k*vector), x86.V(2))
	}
}

// element writes a word of the element's index.
func (b *body) element(s *step) {
	name := b.names[s.dst]
	to := x86.V(b.take(vectors, s.dst))
	if b.Set.wide {
		b.vector(x86.VPBROADCASTD, name, to, at)
	} else {
		b.sized(x86.VMOVD, 16, 0, name, to, at)
		b.vector(x86.VBROADCASTSS, name, to, to)
	}
	b.words(x86.VPADDD, name, to, to, x86.Mem(frame, b.ordinalsAt()))
	if b.Func.Nodes[s.dst].Index == 1 {
		// Less than 2^31 were added to the low word. It went beyond 32 bits where its highest bit was 1 and is 0.
		b.vector(x86.VANDNPS, name, to, to, x86.Mem(frame, b.lowAt))
		b.words(x86.VPSRLD, name, to, to, x86.Imm(31))
		b.words(x86.VPADDD, name, to, to, x86.Mem(frame, b.highAt))
	}
}
