package kernels

import (
	_ "embed"
	"slices"
	"sync"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// around puts around the graphs of the passes over elements what Spec.Around has for each: what is done to the gradient, all of them; the average of
// the parameter, the last one. The gradient's memory is set to 0 by the last one that reads it.
func (p *Program) around(graphs []*ir.Func) {
	last, zeroes := len(graphs)-1, len(graphs)-1
	for i, f := range slices.Backward(graphs) {
		if p.Passes[i].Domain == rule.OfElements && slices.Contains(f.Loads(), p.Rule.Slot(rule.Grad)) {
			zeroes = i
			break
		}
	}
	for i, f := range graphs {
		if p.Passes[i].Domain != rule.OfElements {
			continue
		}
		is := p.Spec.Around
		if i != last {
			is &^= rule.EMA
		}
		if i != zeroes {
			is &^= rule.ZeroGrad
		}
		if i == 0 && p.clipsUnits() { // it sums up what is clipped
			is &= rule.ClipTensorNorm | rule.ZeroGrad
		}
		p.Passes[i].Around, graphs[i] = is, around(f, p.Spec, is, i == last)
	}
}

// around puts around an element function's graph what every program has, by the scalars of bank rule.SharedBank: the gradient is scaled, clipped and
// gets the penalties, and by the last function the parameter is decayed. What multiplies is always there, as a factor of 1 is exact; the rest has variants.
// What becomes of the parameter is flushed, as rule.Flush does: a parameter that decays would otherwise stay subnormal for ever. The average is
// of the parameter as a number, before its format rounds it. Of a rule that runs alone, only the gradient's memory may be set to 0.
func around(f *ir.Func, s Spec, is rule.Around, last bool) *ir.Func {
	slots := len(s.Rule.Slots)
	average := s.Around&rule.EMA != 0
	vars := slices.Clone(f.Vars)
	if average {
		vars = slices.Insert(vars, slots, ir.Field{Bank: rule.ElemBank, Index: slots, Name: rule.Average})
	}
	first := len(vars)
	for i, name := range sharedNames {
		vars = append(vars, ir.Field{Bank: rule.SharedBank, Index: i, Name: name})
	}
	if s.clipsTensors() {
		vars[first].Bank, vars[first].Index = rule.TensorBank, len(s.Rule.Tensor)
	}
	factor := len(vars)
	if is&rule.AdaptiveClip != 0 {
		bank, i := s.Rule.ClipFactor(s.Options)
		vars = append(vars, ir.Field{Bank: bank, Index: i, Name: "clipFactor"})
	}
	b := ir.NewBuilder(f.Name, f.Width, vars)
	shared := func(i int) ir.Value { return b.Var(first + i) }
	gradScale, decay, weightDecay, l1, clipValue := shared(0), shared(1), shared(2), shared(3), shared(4)
	emaDecay, oneMinusEMADecay := shared(5), shared(6)
	product := func(x, y ir.Value) ir.Value { return b.Binary(ir.Mul, x, y) }
	call := func(graph func(width int) *ir.Func, in ...ir.Value) ir.Value {
		return b.Inline(graph(f.Width), append(in, make([]ir.Value, 1)...))[len(in)]
	}

	keep := make([]ir.Value, len(vars))
	for i := range vars {
		keep[i] = b.Var(i)
	}
	param, grad := s.Rule.Slot(rule.Param), s.Rule.Slot(rule.Grad)
	entry := slices.Clone(keep)
	if !s.Alone {
		g := product(keep[grad], gradScale)
		if is&rule.AdaptiveClip != 0 {
			g = product(g, keep[factor])
		}
		if is&rule.ClipValue != 0 {
			g = call(clipGraph, g, clipValue)
		}
		if is&rule.L2 != 0 {
			g = b.Binary(ir.Add, g, product(weightDecay, keep[param]))
		}
		if is&rule.L1 != 0 {
			g = b.Binary(ir.Add, g, product(l1, call(signGraph, keep[param])))
		}
		if entry[grad] = g; last {
			entry[param] = product(keep[param], decay)
		}
	}
	if average {
		entry = slices.Delete(entry, slots, slots+1)
	}
	final := b.Inline(f, entry)
	if average {
		final = slices.Insert(final, slots, keep[slots])
	}
	final[grad] = keep[grad]
	if !s.Alone && last {
		final[param] = call(flushGraph, final[param])
	}
	if is&rule.EMA != 0 {
		ema := b.Binary(ir.Add, product(emaDecay, keep[slots]), product(oneMinusEMADecay, final[param]))
		final[slots] = call(flushGraph, ema)
	}
	if is&rule.ZeroGrad != 0 {
		final[grad] = b.Const(0)
	}
	return b.Func(final)
}

//go:embed around.go
var aroundSource string

func flush[F rule.Float](x F) F      { return rule.Flush(x) }
func sign[F rule.Float](x F) F       { return rule.Sign(x) }
func clip[F rule.Float](x, most F) F { return rule.Clip(x, most) }

// The graphs of functions of package rule, by width.
var (
	flushGraph = graphs(flush[float32], flush[float64])
	signGraph  = graphs(sign[float32], sign[float64])
	clipGraph  = graphs(clip[float32], clip[float64])
)

func graphs(f32, f64 any) func(width int) *ir.Func {
	graph := func(fn any, width int) func() *ir.Func {
		return sync.OnceValue(func() *ir.Func { return must(rule.FormatFunction(fn, width, aroundSource)) })
	}
	of32, of64 := graph(f32, 32), graph(f64, 64)
	return func(width int) *ir.Func {
		if width == 64 {
			return of64()
		}
		return of32()
	}
}
