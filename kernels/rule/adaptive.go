package rule

import (
	"slices"

	"github.com/fusestep/fusestep/kernels/ir"
)

// What adaptive gradient clipping adds to a rule: behind its tensor fields, all of these; behind its row fields, the first three. Their names have two
// dots, which no name of a rule has: a parameter and its field have one.
const (
	clipParam    = iota // filled: the squares of the parameter, of the unit
	clipGrad            // filled: those of the gradient, scaled and clipped by the norms
	clipFactor          // what the unit's gradient is multiplied by
	clipClipping        // given: see ClippingField
	clipEps             // given
)

var clipFields = []TensorField{{Name: "adaptive.clip.Param", Fill: FillSquares}, {Name: "adaptive.clip.Grad", Fill: FillSquares}, {Name: "adaptive.clip.Factor"}, {Name: "adaptive.clip.Clipping"}, {Name: "adaptive.clip.Eps"}}

// unitClip is what a unit's gradient is multiplied by, of the sums of the squares of its parameter and of its gradient: the gradient's norm is brought to
// clipping·max(norm of the parameter, eps), as timm's adaptive_clip_grad and optax's adaptive_grad_clip do. A NaN is not hidden.
func unitClip[F Float](param, grad, clipping, eps F) F {
	most := Sqrt(param)
	if most < eps {
		most = eps
	}
	most = F(most * clipping)
	norm := Sqrt(grad)
	if norm < most {
		return 1
	}
	if norm < 1e-6 {
		norm = 1e-6
	}
	return most / norm
}

// unitClipNodes is unitClip as nodes.
func unitClipNodes(b *ir.Builder, width int, param, grad, clipping, eps ir.Value) ir.Value {
	least := 1e-6
	if width == 32 {
		least = float64(float32(least))
	}
	atLeast := func(x, least ir.Value) ir.Value { return b.Select(b.Binary(ir.Lt, x, least), least, x) }
	most := b.Binary(ir.Mul, atLeast(b.Unary(ir.Sqrt, param), eps), clipping)
	norm := b.Unary(ir.Sqrt, grad)
	return b.Select(b.Binary(ir.Lt, norm, most), b.Const(1), b.Binary(ir.Div, most, atLeast(norm, b.Const(least))))
}

// WithAdaptiveClip is the rule with adaptive gradient clipping (Brock et al. 2021) before it: always the same one. An element function more, the first,
// sums up the squares of the parameter and of the gradient over each unit, and before the rule's own functions the gradient is multiplied by the unit's
// factor. A unit is a row with the option Matrix on, which such a rule always has, else the whole tensor. Its tensor fields that ClippingField and
// EpsField name are given in each step. It is what rule.AdaptiveClip needs. Of a rule that has it, it is the rule.
func (r *Rule) WithAdaptiveClip() *Rule {
	if r.base != nil {
		return r
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clipped == nil {
		r.clipped = r.withAdaptiveClip()
	}
	return r.clipped
}

// WithoutAdaptiveClip is the rule that WithAdaptiveClip was asked of, or the rule.
func (r *Rule) WithoutAdaptiveClip() *Rule {
	if r.base != nil {
		return r.base
	}
	return r
}

// ClippingField is the tensor field of a rule WithAdaptiveClip that is given what the norms of parameters are multiplied by, and EpsField that of the
// least such norm.
func (r *Rule) ClippingField() int { return len(r.base.Tensor) + clipClipping }

// EpsField is beside ClippingField.
func (r *Rule) EpsField() int { return len(r.base.Tensor) + clipEps }

// ClipFactor is where a rule WithAdaptiveClip has a unit's factor: the bank and the index there.
func (r *Rule) ClipFactor(options uint64) (bank, index int) {
	bank, first := r.units(options)
	return bank, first + clipFactor
}

// units is the bank of what units have, and the first of the fields there.
func (r *Rule) units(options uint64) (bank, first int) {
	if options&r.MatrixOption() != 0 {
		return RowBank, len(r.base.Row)
	}
	return TensorBank, len(r.base.Tensor)
}

func (r *Rule) withAdaptiveClip() *Rule {
	c := &Rule{Name: r.Name, Slots: r.Slots, Start: r.Start, Scalars: r.Scalars, Hyper: r.Hyper, Counters: r.Counters, Options: r.Options,
		Tensor: slices.Concat(r.Tensor, clipFields), Row: slices.Clip(r.Row), Column: r.Column, Stages: r.Stages + 1, Everything: r.Everything,
		prologue: r.prologue, base: r, graphs: map[graphKey]*ir.Func{}}
	for _, f := range clipFields[:clipFactor+1] {
		c.Row = append(c.Row, DomainField{Name: f.Name, Fill: f.Fill})
	}
	if r.MatrixOption() == 0 {
		c.Options = append(slices.Clip(r.Options), Matrix)
	}
	c.runPrologue = func(hyper, counters, scalars []float64, options uint64) {
		r.runPrologue(hyper, counters, scalars, options&r.optionSet())
	}
	terms := stageFunc{name: "clip", domain: OfElements, lower: c.clipTerms, apply32: clipTerms[float32], apply64: clipTerms[float64]}
	rows := stageFunc{name: "clip", domain: OfRows, stage: 1, lower: c.clipRows, apply32: clipRows[float32], apply64: clipRows[float64]}
	tensors := stageFunc{name: "clip", domain: OfTensor, stage: 1, lower: c.clipTensor, run: func(tensor, _ []float64, options uint64) {
		if bank, first := c.units(options); bank == TensorBank {
			own := tensor[first:]
			own[clipFactor] = unitClip(own[clipParam], own[clipGrad], own[clipClipping], own[clipEps])
		}
	}}
	c.functions = []stageFunc{terms, rows, tensors}
	for _, f := range r.functions {
		own := f // with r's stage
		f.stage++
		f.lower = func(width int, options uint64) (*ir.Func, error) {
			return r.functionGraph(&own, width, options&r.optionSet())
		}
		if own.domain == OfTensor {
			f.run = func(tensor, scalars []float64, options uint64) {
				own.run(tensor[:len(r.Tensor)], scalars, options&r.optionSet())
			}
		} else {
			f.apply32, f.apply64 = clippedApply(r, &own, own.apply32), clippedApply(r, &own, own.apply64)
		}
		c.functions = append(c.functions, f)
	}
	return c
}

// optionSet is all the rule's options.
func (r *Rule) optionSet() uint64 { return 1<<len(r.Options) - 1 }

// clippedApply runs a function of a rule for that rule WithAdaptiveClip.
func clippedApply[F Float](r *Rule, f *stageFunc, apply func(*Rule, *Pass[F])) func(*Rule, *Pass[F]) {
	return func(c *Rule, p *Pass[F]) {
		given := *p
		p.Stage, p.Options = f.stage, p.Options&r.optionSet()
		if f.domain == OfElements {
			if bank, i := c.ClipFactor(given.Options); bank == RowBank {
				p.factor = p.Row[i]
			} else {
				p.factor = p.Tensor[i]
			}
		}
		p.Tensor = p.Tensor[:min(len(p.Tensor), len(r.Tensor))]
		p.Row = p.Row[:min(len(p.Row), len(r.Row))]
		apply(r, p)
		*p = given
	}
}

// clipTerms is the graph of the first element function.
func (r *Rule) clipTerms(width int, options uint64) (*ir.Func, error) {
	f, err := r.base.Element(0, width, options&r.base.optionSet())
	if err != nil {
		return nil, err
	}
	bank, first := r.units(options)
	vars := slices.DeleteFunc(slices.Clone(f.Vars), func(v ir.Field) bool { return v.Bank != ElemBank })
	slots := len(vars)
	for k := range clipFactor {
		vars = append(vars, ir.Field{Bank: bank, Index: first + k, Name: clipFields[k].Name})
	}
	b := ir.NewBuilder(r.Name+" adaptive clip", width, vars)
	final := make([]ir.Value, len(vars))
	for i := range vars {
		final[i] = b.Var(i)
	}
	final[slots+clipParam], final[slots+clipGrad] = final[r.Slot(Param)], final[r.Slot(Grad)]
	return b.Func(final), nil
}

func clipTerms[F Float](r *Rule, p *Pass[F]) {
	to := p.Terms
	bank, first := r.units(p.Options)
	if bank == RowBank {
		to = p.RowTerms
	}
	param, grad := p.Slots[r.Slot(Param)], p.Slots[r.Slot(Grad)]
	copy(to[first+clipParam], param)
	for i, g := range grad {
		to[first+clipGrad][i] = F(g * p.Shared.GradScale)
	}
	if p.Around&ZeroGrad != 0 {
		clear(grad)
	}
}

// clipRows is the graph of the row function.
func (r *Rule) clipRows(width int, _ uint64) (*ir.Func, error) {
	return r.clipUnit(width, RowBank, len(r.base.Row)), nil
}

func clipRows[F Float](r *Rule, p *Pass[F]) {
	own := p.Slots[len(r.base.Row):]
	clipping, eps := p.Tensor[r.ClippingField()], p.Tensor[r.EpsField()]
	for i, x := range own[clipParam] {
		own[clipFactor][i] = unitClip(x, own[clipGrad][i], clipping, eps)
	}
}

// clipTensor is the graph of the tensor function.
func (r *Rule) clipTensor(width int, options uint64) (*ir.Func, error) {
	if bank, _ := r.units(options); bank != TensorBank {
		return &ir.Func{Name: r.Name + " adaptive clip", Width: width}, nil
	}
	return r.clipUnit(width, TensorBank, len(r.base.Tensor)), nil
}

// clipUnit is the graph of what computes a unit's factor, whose first field in a bank that is.
func (r *Rule) clipUnit(width, bank, first int) *ir.Func {
	var vars []ir.Field
	for k, f := range clipFields {
		v := ir.Field{Bank: bank, Index: first + k, Name: f.Name}
		if k > clipFactor {
			v.Bank, v.Index = TensorBank, len(r.base.Tensor)+k
		}
		vars = append(vars, v)
	}
	b := ir.NewBuilder(r.Name+" adaptive clip", width, vars)
	final := make([]ir.Value, len(vars))
	for i := range vars {
		final[i] = b.Var(i)
	}
	final[clipFactor] = unitClipNodes(b, width, final[clipParam], final[clipGrad], final[clipClipping], final[clipEps])
	return b.Func(final)
}
