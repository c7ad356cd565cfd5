package ptxvm

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// The scalars of the rule that a random graph seems to come from, those that every program has, and of a graph with fills those of a tensor.
const scalarCount, sharedCount, ownCount = 3, 4, 2

// A generator makes a random graph. Each list starts with constants.
type generator struct {
	*ir.Builder
	rng     *rand.Rand
	width   int
	numbers []ir.Value
	words   []ir.Value
	truths  []ir.Value
}

// randomGraph is a graph of any operations over planes of any types: some all of one size, some mixed. With fills it has scalars of a tensor
// too, and makes terms.
func randomGraph(rng *rand.Rand, filled bool) (f *ir.Func, fills []kernels.Fill) {
	width := []int{32, 32, 32, 64}[rng.IntN(4)]
	sets := [][]ir.Type{{ir.Float}, {ir.U16}, {ir.U8}, {ir.U32, ir.Float}, {ir.Float, ir.U16}, {ir.U16, ir.U8}, {ir.Float, ir.U32, ir.U16, ir.U8}}
	types := sets[rng.IntN(len(sets))]
	var fields []ir.Field
	elements := 1 + rng.IntN(5)
	for i := range elements {
		fields = append(fields, ir.Field{Bank: rule.ElemBank, Index: i, Name: fmt.Sprintf("e.S%d", i), Type: types[rng.IntN(len(types))]})
	}
	for i := range rng.IntN(scalarCount + 1) {
		fields = append(fields, ir.Field{Bank: rule.ScalarsBank, Index: i, Name: fmt.Sprintf("s.U%d", i), Type: []ir.Type{ir.Float, ir.Float, ir.U32}[rng.IntN(3)]})
	}
	for i := range rng.IntN(sharedCount + 1) {
		fields = append(fields, ir.Field{Bank: rule.SharedBank, Index: i, Name: fmt.Sprintf("shared%d", i)})
	}
	if filled {
		for i := range ownCount {
			fields = append(fields, ir.Field{Bank: rule.TensorBank, Index: i, Name: fmt.Sprintf("t.U%d", i)})
		}
		for i := range 1 + rng.IntN(3) {
			fills = append(fills, kernels.Fill{Var: len(fields), Kind: rule.FillSum + rule.Fill(rng.IntN(4)), Word: i})
			fields = append(fields, ir.Field{Bank: rule.TensorBank, Index: ownCount + i, Name: fmt.Sprintf("t.F%d", i)})
		}
	}
	g := &generator{Builder: ir.NewBuilder("random", width, fields), rng: rng, width: width}
	g.numbers = []ir.Value{g.Const(0), g.Const(1.5)}
	g.words = []ir.Value{g.Word(0), g.Word(rng.Uint32()), g.Word(0xffff)}
	g.truths = []ir.Value{g.Bool(true), g.Bool(false)}
	if rng.IntN(3) == 0 {
		g.words = append(g.words, g.Element(false), g.Element(true))
	}
	for i, f := range fields[:len(fields)-len(fills)] {
		if f.Type == ir.Float {
			g.numbers = append(g.numbers, g.Var(i))
		} else {
			g.words = append(g.words, g.Var(i))
		}
	}
	for range 3 + rng.IntN(40) {
		g.grow()
	}
	final := make([]ir.Value, len(fields))
	for i, f := range fields {
		final[i] = g.Var(i)
		switch {
		case f.Bank != rule.ElemBank || i > 0 && rng.IntN(5) == 0: // stays
		case f.Type == ir.Float:
			final[i] = g.number()
		default:
			final[i] = g.word()
		}
	}
	for _, fill := range fills {
		final[fill.Var] = g.number()
	}
	if f = g.Func(final); len(f.Stores) == 0 || !slices.ContainsFunc(f.Vars, func(v ir.Field) bool { return v.Bank == rule.ElemBank }) {
		return randomGraph(rng, filled)
	}
	return f, fills
}

// last takes one of a list, rather of its end.
func (g *generator) last(list []ir.Value) ir.Value {
	return list[len(list)-1-min(g.rng.IntN(len(list)), g.rng.IntN(len(list)))]
}

func (g *generator) number() ir.Value { return g.last(g.numbers) }
func (g *generator) word() ir.Value   { return g.last(g.words) }
func (g *generator) truth() ir.Value  { return g.last(g.truths) }

// bits is what op makes of x, and the same for every NaN, whose payload is open.
func (g *generator) bits(op ir.Op, x ir.Value, nan uint32) ir.Value {
	return g.Select(g.Binary(ir.Ne, x, x), g.Word(nan), g.Unary(op, x))
}

// grow adds an operation.
func (g *generator) grow() {
	switch k := g.rng.IntN(26); {
	case k < 4:
		g.numbers = append(g.numbers, g.Binary(ir.Add+ir.Op(k), g.number(), g.number()))
	case k < 7:
		g.numbers = append(g.numbers, g.Unary(ir.Sqrt+ir.Op(k-4), g.number()))
	case k == 7:
		g.numbers = append(g.numbers, g.Select(g.truth(), g.number(), g.number()))
	case k == 8:
		g.numbers = append(g.numbers, g.Unary(ir.FromBits, g.word()))
	case k == 9:
		g.numbers = append(g.numbers, g.Unary(ir.FromHalf, g.word()))
	case k == 10 && g.width == 32:
		g.words = append(g.words, g.bits(ir.ToBits, g.number(), 0x7fc00000))
	case k == 11 && g.width == 32:
		g.words = append(g.words, g.bits(ir.ToHalf, g.number(), 0x7e00))
	case k < 19:
		op := ir.WAdd + ir.Op(g.rng.IntN(int(ir.WXor-ir.WAdd+1)))
		g.words = append(g.words, g.Binary(op, g.word(), g.word()))
	case k < 21:
		op, by := ir.WShl+ir.Op(g.rng.IntN(3)), []int{0, 1, 8, 13, 16, 31}[g.rng.IntN(6)]
		if op == ir.WRotl {
			by = max(by, 1)
		}
		g.words = append(g.words, g.Shift(op, g.word(), by))
	case k == 21:
		g.words = append(g.words, g.Select(g.truth(), g.word(), g.word()))
	case k == 22:
		g.truths = append(g.truths, g.Binary(ir.WLt+ir.Op(g.rng.IntN(2)), g.word(), g.word()))
	case k == 23:
		g.truths = append(g.truths, g.Binary(ir.Lt+ir.Op(g.rng.IntN(4)), g.number(), g.number()))
	case k == 24:
		g.truths = append(g.truths, g.Binary(ir.And+ir.Op(g.rng.IntN(2)), g.truth(), g.truth()), g.Unary(ir.Not, g.truth()))
	default:
		g.truths = append(g.truths, g.Select(g.truth(), g.truth(), g.truth()))
	}
}
