package emit

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/fusestep/fusestep/kernels/ir"
)

// Banks of the fields of a random graph.
const (
	elements = iota
	scalars
)

// mostPlanes is more than there are registers for.
const mostPlanes = 14

// graph makes a random graph.
type graph struct {
	*ir.Builder
	rng     *rand.Rand
	width   int
	fields  []ir.Field
	numbers []ir.Value
	truths  []ir.Value
	words   []ir.Value
	upper   bool // all planes have 16 bits, and no operation is on halves
}

// random is a graph of any operations, of the width.
func random(rng *rand.Rand, width int) *ir.Func {
	planes, given := 1+rng.IntN(mostPlanes), rng.IntN(8)
	integers := rng.IntN(4) // how many of the fields and operations are words
	g := &graph{rng: rng, width: width, upper: width == 32 && rng.IntN(3) == 0}
	if g.upper {
		integers = 1 + rng.IntN(3)
	}
	add := func(bank, n int, name string) {
		for i := range n {
			t := ir.Float
			if rng.IntN(4) < integers {
				t = ir.Type(rng.IntN(4))
			}
			if g.upper && bank == elements {
				t = ir.U16
			}
			g.fields = append(g.fields, ir.Field{Bank: bank, Index: i, Name: fmt.Sprintf(name, i), Type: t})
		}
	}
	add(elements, planes, "e.S%d")
	add(scalars, given, "s.U%d")
	g.Builder = ir.NewBuilder("random", width, g.fields)
	g.numbers, g.truths = []ir.Value{g.Const(0), g.Const(1.5)}, []ir.Value{g.Bool(true), g.Bool(false)}
	g.words = []ir.Value{g.Word(0), g.Word(someWord(rng)), g.Word(0xffff)}
	if integers > 0 && rng.IntN(3) == 0 {
		g.words = append(g.words, g.Element(false), g.Element(true))
	}
	for i, f := range g.fields {
		if f.Type == ir.Float {
			g.numbers = append(g.numbers, g.Var(i))
		} else {
			g.words = append(g.words, g.Var(i))
			if f.Type == ir.U16 && rng.IntN(2) == 0 {
				g.numbers = append(g.numbers, g.Unary(ir.FromBits, g.Shift(ir.WShl, g.Var(i), 16)))
			}
		}
	}
	logic := rng.IntN(3) // how many of the operations are on truth values
	for range 1 + rng.IntN(70) {
		if rng.IntN(4) < integers {
			g.integer()
		} else {
			g.operation(logic)
		}
	}
	// All truth values are still needed at the end of some graphs, all numbers, and all words.
	sum, all, word := g.number(), rng.IntN(8), g.word()
	for _, c := range g.truths {
		if all&1 == 0 {
			sum = g.Select(c, sum, g.number())
		}
	}
	for i, x := range g.numbers {
		if all&2 == 0 {
			sum = g.Binary(ir.Add+ir.Op(i%2), x, sum)
		}
	}
	for i, x := range g.words {
		if all&4 == 0 {
			word = g.Binary(ir.WAdd+ir.Op(i%2), x, word)
		}
	}
	final := make([]ir.Value, len(g.fields))
	for i, f := range g.fields {
		final[i] = g.Var(i)
		if i >= planes {
			continue
		}
		switch to := rng.IntN(planes); rng.IntN(6) {
		case 0: // stays
		case 1: // moves
			if (g.fields[to].Type == ir.Float) == (f.Type == ir.Float) {
				final[i] = g.Var(to)
			}
		case 2:
			final[i] = sum
			if f.Type != ir.Float {
				final[i] = word
			}
		default:
			switch {
			case f.Type == ir.Float:
				final[i] = g.number()
			case width == 32 && f.Type == ir.U16 && rng.IntN(3) > 0:
				if g.upper || rng.IntN(2) == 0 {
					final[i] = g.Shift(ir.WShr, g.rounded(), 16)
				} else {
					final[i] = g.Unary(ir.ToHalf, g.number())
				}
			case width == 32 && f.Type == ir.U32 && rng.IntN(4) == 0:
				final[i] = g.rounded()
			case width == 32 && f.Type == ir.U32 && rng.IntN(2) == 0:
				final[i] = g.Unary(ir.ToBits, g.number())
			default:
				final[i] = g.word()
			}
		}
	}
	return g.Func(final)
}

func (g *graph) number() ir.Value { return late(g.rng, g.numbers) }
func (g *graph) word() ir.Value   { return late(g.rng, g.words) }
func (g *graph) truth() ir.Value  { return g.truths[g.rng.IntN(len(g.truths))] }

// late is one of the values, rather one of the last.
func late(rng *rand.Rand, values []ir.Value) ir.Value {
	return values[len(values)-1-min(rng.IntN(len(values)), rng.IntN(len(values)))]
}

// rounded is the bits of a number, or some of them and a sum; a NaN is made quiet.
func (g *graph) rounded() ir.Value {
	x := g.number()
	bits := g.Unary(ir.ToBits, x)
	low, term := g.Binary(ir.WAnd, g.Shift(ir.WShr, bits, 16), g.Word(1)), g.Word(0x7fff)
	if g.rng.IntN(3) == 0 {
		low, term = g.word(), g.word()
	}
	sum := g.Binary(ir.WAdd, g.Binary(ir.WOr, low, bits), term)
	return g.Select(g.Binary(ir.Ne, x, x), g.Binary(ir.WOr, bits, g.Word(quietBit)), sum)
}

// flushed is a number, but 0 if that is subnormal.
func (g *graph) flushed() ir.Value {
	x, least := g.number(), map[int]float64{32: 0x1p-126, 64: 0x1p-1022}[g.width]
	return g.Select(g.Binary(ir.Lt, g.Unary(ir.Abs, x), g.Const(least)), g.Const(0), x)
}

// extreme is the greater or the lesser of two numbers; NaN if either is.
func (g *graph) extreme() ir.Value {
	x, y := g.number(), g.number()
	lt := g.Binary(ir.Lt, x, y)
	if g.rng.IntN(2) == 0 {
		lt = g.Binary(ir.Lt, y, x)
	}
	return g.Select(g.Binary(ir.Or, lt, g.Binary(ir.Ne, y, y)), y, x)
}

// operation adds one on numbers or truth values.
func (g *graph) operation(logic int) {
	switch k := g.rng.IntN(12 + 4*logic); {
	case k == 7 && g.rng.IntN(2) == 0:
		g.numbers = append(g.numbers, g.flushed())
	case k == 8 && g.rng.IntN(3) == 0:
		g.numbers = append(g.numbers, g.extreme())
	case k < 4:
		g.numbers = append(g.numbers, g.Binary(ir.Add+ir.Op(k), g.number(), g.number()))
	case k < 7:
		g.numbers = append(g.numbers, g.Unary(ir.Sqrt+ir.Op(k-4), g.number()))
	case k < 9:
		g.numbers = append(g.numbers, g.Select(g.truth(), g.number(), g.number()))
	case k < 10+2*logic:
		g.truths = append(g.truths, g.Binary(ir.Lt+ir.Op(g.rng.IntN(4)), g.number(), g.number()))
	case k < 11+3*logic:
		g.truths = append(g.truths, g.Binary(ir.And+ir.Op(g.rng.IntN(2)), g.truth(), g.truth()))
	case g.rng.IntN(3) > 0:
		g.truths = append(g.truths, g.Select(g.truth(), g.truth(), g.truth()))
	default:
		g.truths = append(g.truths, g.Unary(ir.Not, g.truth()))
	}
}

// integer adds an operation that makes a word or takes one.
func (g *graph) integer() {
	switch k := g.rng.IntN(16); {
	case k < 2 || k < 4 && g.upper:
		g.numbers = append(g.numbers, g.Unary(ir.FromBits, g.word()))
	case k < 4:
		g.numbers = append(g.numbers, g.Unary(ir.FromHalf, g.word()))
	case k < 6:
		if g.width == 32 { // of a NaN, some bits that are the same everywhere
			x := g.number()
			op := ir.ToBits
			if k == 5 && !g.upper {
				op = ir.ToHalf
			}
			w := g.Unary(op, x)
			g.words = append(g.words, g.Select(g.Binary(ir.Ne, x, x), g.Word(0x7fc1), w))
		}
	case k < 8:
		op, by := ir.WShl+ir.Op(k-6), []int{g.rng.IntN(32), 16, 8}[g.rng.IntN(3)]
		if by%5 == 4 {
			op = ir.WRotl
		}
		g.words = append(g.words, g.Shift(op, g.word(), by))
	case k < 9:
		g.words = append(g.words, g.Select(g.truth(), g.word(), g.word()))
	case k < 12:
		g.truths = append(g.truths, g.Binary(ir.WLt+ir.Op((k-9)%2), g.word(), g.word()))
	default:
		g.words = append(g.words, g.Binary(ir.WAdd+ir.Op(g.rng.IntN(7)), g.word(), g.word()))
	}
}

// someNumber is an ordinary number, one of few, or any bits.
func someNumber[F float32 | float64](rng *rand.Rand) F {
	switch rng.IntN(8) {
	case 0:
		few := []float64{0, math.Copysign(0, -1), 1, -1, 1.5, math.Inf(1), math.Inf(-1), math.NaN(), 0x1p-126, 0x1p-149, 0x1p-1030, math.MaxFloat32}
		return F(few[rng.IntN(len(few))])
	case 1:
		var f F
		if p, ok := any(&f).(*float32); ok {
			*p = math.Float32frombits(rng.Uint32())
		} else {
			*any(&f).(*float64) = math.Float64frombits(rng.Uint64())
		}
		return f
	case 2:
		return F(rng.IntN(5) - 2)
	}
	return F(rng.NormFloat64())
}

// someWord is a number's bits, a half's, one of few, or any.
func someWord(rng *rand.Rand) uint32 {
	switch rng.IntN(6) {
	case 0:
		few := []uint32{0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7c00, 0x7e00, 0xfc00, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7f800000, 0x7fffffff,
			0x80000000, 0xffff0000, 0xffffffff}
		return few[rng.IntN(len(few))]
	case 1:
		return uint32(ir.ToFloat16(someNumber[float32](rng)))
	case 2:
		return uint32(rng.IntN(5) - 2)
	case 3:
		return rng.Uint32()
	}
	return math.Float32bits(someNumber[float32](rng))
}

// someIndex is an element's, in half of all cases close before a multiple of 2^32.
func someIndex(rng *rand.Rand) uint64 {
	switch rng.IntN(4) {
	case 0:
		return 0
	case 1:
		return rng.Uint64() >> 1
	}
	return uint64(1+rng.IntN(5))<<32 - uint64(rng.IntN(140))
}
