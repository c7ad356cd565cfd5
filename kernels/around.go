package kernels

import (
	"slices"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// around puts around a rule's graph what every program has, by the scalars of bank rule.SharedBank: the gradient is scaled and then
// gets the penalties, the parameter is decayed. All of them multiply, and a factor of 1 is exact, so only penalties have variants.
// What becomes of the parameter is flushed, as rule.Flush does: a parameter that decays would otherwise stay subnormal for ever.
func around(f *ir.Func, s Spec) *ir.Func {
	vars := slices.Clone(f.Vars)
	for i, name := range sharedNames {
		vars = append(vars, ir.Field{Bank: rule.SharedBank, Index: i, Name: name})
	}
	b := ir.NewBuilder(f.Name, f.Width, vars)
	shared := func(i int) ir.Value { return b.Var(len(f.Vars) + i) }
	gradScale, decay, weightDecay, l1 := shared(0), shared(1), shared(2), shared(3)
	product := func(x, y ir.Value) ir.Value { return b.Binary(ir.Mul, x, y) }

	keep := make([]ir.Value, len(vars))
	for i := range vars {
		keep[i] = b.Var(i)
	}
	param, grad := s.Rule.Slot(rule.Param), s.Rule.Slot(rule.Grad)
	g := product(keep[grad], gradScale)
	if s.Around&rule.L2 != 0 {
		g = b.Binary(ir.Add, g, product(weightDecay, keep[param]))
	}
	if s.Around&rule.L1 != 0 {
		g = b.Binary(ir.Add, g, product(l1, sign(b, keep[param])))
	}
	entry := slices.Clone(keep)
	entry[grad], entry[param] = g, product(keep[param], decay)
	final := b.Inline(f, entry)
	final[grad], final[param] = keep[grad], flush(b, final[param])
	return b.Func(final)
}

// flush is rule.Flush.
func flush(b *ir.Builder, x ir.Value) ir.Value {
	return b.Select(b.Binary(ir.Lt, b.Unary(ir.Abs, x), b.SmallestNormal()), b.Const(0), x)
}

// sign is rule.Sign.
func sign(b *ir.Builder, x ir.Value) ir.Value {
	zero := b.Const(0)
	return b.Select(b.Binary(ir.Lt, zero, x), b.Const(1), b.Select(b.Binary(ir.Lt, x, zero), b.Const(-1),
		b.Select(b.Binary(ir.Eq, x, zero), zero, x)))
}
