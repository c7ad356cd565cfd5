package kernels

import (
	_ "embed"
	"slices"
	"sync"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// The words of Tensor.Sums of an update. Those of TensorSums come first.
const (
	gradWords = 2         // of TensorSums
	countWord = gradWords // how many elements the tensor has here
	ruleWords = 3         // the first of the rule's tensor fields: what they are filled with, what is kept, and what is computed. That of a count is not used.
)

// matrixWords are the words of a program with Spec.Matrix behind the rule's: how many rows and columns the tensor has. With rule.AdaptiveClip every
// program has them, and what that has is behind them, so that a tensor's words stay where they are when that is turned on.
const matrixWords = 2

// SumWords is how many words Tensor.Sums has at least; 0 where the program has no use for it.
func (p *Program) SumWords() int {
	for _, s := range p.Stages {
		switch {
		case s.Over == OneTensor && p.Rule == nil:
			return gradWords
		case s.Over == OneTensor && (p.Matrix() || p.clipsUnits()):
			return ruleWords + len(p.Rule.Tensor) + matrixWords
		case s.Over == OneTensor, p.Rule != nil && p.Rule.Everything:
			return ruleWords + len(p.Rule.Tensor)
		}
	}
	return 0
}

// InitialSums are the words of Tensor.Sums before the first step, of a tensor of n elements in so many rows, or 0, of so many matrices.
func (p *Program) InitialSums(n, rows, matrices int) []float64 {
	out := make([]float64, p.SumWords())
	if len(out) > countWord {
		out[countWord] = float64(n)
	}
	if (p.Matrix() || p.clipsUnits()) && len(out) > 0 && rows > 0 {
		out[p.wordOf(rule.OfRows)], out[p.wordOf(rule.OfColumns)] = float64(rows), float64(Numbers(rule.OfColumns, n, rows, matrices))
	}
	return out
}

// wordOf is the word of Tensor.Sums that says how many elements the tensor has, or rows or columns.
func (p *Program) wordOf(d rule.Domain) int {
	switch behind := ruleWords + len(p.Rule.WithoutAdaptiveClip().Tensor); d {
	case rule.OfRows:
		return behind
	case rule.OfColumns:
		return behind + 1
	}
	return countWord
}

// termsWord is the word that says how many terms a tensor field is filled with: as many as there are of what the pass runs over that fills it.
func (p *Program) termsWord(field int) int {
	for i := 0; i < len(p.Passes) && p.Matrix(); i++ {
		if q := &p.Passes[i]; slices.ContainsFunc(q.Fills, func(f Fill) bool { return f.Domain == rule.OfTensor && f.Field == field }) {
			return p.wordOf(q.Domain)
		}
	}
	return countWord
}

// TensorState is a number that each tensor keeps from step to step, by the name in its rule's state tag.
type TensorState struct {
	Name string
	Word int // of Tensor.Sums
}

// TensorStates are those of the program's rule.
func (p *Program) TensorStates() (out []TensorState) {
	if p.Rule == nil {
		return nil
	}
	for i, f := range p.Rule.Tensor {
		if f.State != "" {
			out = append(out, TensorState{f.State, p.TensorWord(i)})
		}
	}
	return out
}

// maxTensorNorm is the input of a program that clips each tensor, behind all others: GroupStep.MaxTensorNorm.
const maxTensorNorm = "MaxTensorNorm"

// unitNames are the inputs of a program with rule.AdaptiveClip behind those: of the group's step.
var unitNames = []string{"Clipping", "ClipEps"}

// clipsUnits says whether the program has rule.AdaptiveClip.
func (s Spec) clipsUnits() bool { return s.Around&rule.AdaptiveClip != 0 && !s.Alone }

// clipsTensors says whether the program has rule.ClipTensorNorm. Where nothing is scaled, nothing is clipped.
func (s Spec) clipsTensors() bool { return s.Around&rule.ClipTensorNorm != 0 && !s.Alone }

// NumTensorScalars is how many scalars a tensor has to itself, by the indices of bank rule.TensorBank: the rule's tensor fields and, with
// rule.ClipTensorNorm, GradScale.
func (p *Program) NumTensorScalars() int {
	n := len(p.Rule.Tensor)
	if p.clipsTensors() {
		n++
	}
	return n
}

// RunTensorScalars is a pass's Tensor by the compiled functions, whose bits are the same. Scalars are the rule's, of the group, rounded to the type
// that the program computes with. Out has NumTensorScalars numbers, of which it writes those that Tensor writes.
func (p *Program) RunTensorScalars(pass int, g *GroupStep, norm, unscale float64, scalars, sums, out []float64) {
	if pass > 0 {
		p.runTensor(pass, scalars, sums)
	} else if p.clipsTensors() {
		var shared SharedOut
		Shared(&SharedIn{Scale: g.Scale, Norm: norm, Unscale: unscale, MaxNorm: limit(g.MaxNorm)}, &shared)
		var of TensorNormOf
		TensorNorm(&TensorSums{Sum: sums[0], Scaled: sums[1]}, &of)
		var clipped ClipTensorOut
		ClipTensor(&ClipTensorIn{GradScale: shared.GradScale, Norm: of.Norm, MaxTensorNorm: limit(g.MaxTensorNorm)}, &clipped)
		out[len(p.Rule.Tensor)] = clipped.GradScale
	}
	if pass == 0 && p.clipsUnits() {
		sums[p.TensorWord(p.Rule.ClippingField())], sums[p.TensorWord(p.Rule.EpsField())] = g.Clipping, g.ClipEps
	}
	for _, f := range p.Passes[pass].outputs {
		out[f.field] = sums[f.word]
	}
}

// tensorNumbers are what runTensor needs while it runs.
var tensorNumbers = sync.Pool{New: func() any { return new([]float64) }}

// tensorOutput is a tensor field that elements see, and its word.
type tensorOutput struct{ field, word int }

// tensorField is where a tensor field of the rule is in Tensor.Sums.
type tensorField struct {
	word, terms int  // its word, and that which says how many terms a mean is of; 0: it is none
	stored      bool // a tensor function may store it
}

// runTensor is the rule's tensor function before a pass. It stores to no field that elements fill, so mostly it can have the words themselves.
func (p *Program) runTensor(pass int, scalars, sums []float64) {
	if p.tensorFields == nil {
		p.Rule.RunTensor(p.Passes[pass].Stage, sums[ruleWords:][:len(p.Rule.Tensor)], scalars, p.Options)
		return
	}
	numbers := tensorNumbers.Get().(*[]float64)
	x := (*numbers)[:0]
	for _, f := range p.tensorFields {
		y := sums[f.word]
		if f.terms > 0 {
			y /= sums[f.terms]
		}
		x = append(x, y)
	}
	p.Rule.RunTensor(p.Passes[pass].Stage, x, scalars, p.Options)
	for i, f := range p.tensorFields {
		if f.stored {
			sums[f.word] = x[i]
		}
	}
	*numbers = x
	tensorNumbers.Put(numbers)
}

// findTensorFields finds where the tensor fields are, if that is not one behind the other.
func (p *Program) findTensorFields() {
	for i, f := range p.Rule.Tensor {
		if !p.derives() {
			return
		}
		at := tensorField{word: p.TensorWord(i), stored: !f.Count && f.Fill == rule.NoFill}
		if f.Fill == rule.FillMean {
			at.terms = p.termsWord(i)
		}
		p.tensorFields = append(p.tensorFields, at)
	}
}

// derives says whether a tensor field is something else than its word of Tensor.Sums.
func (p *Program) derives() bool {
	return p.clipsUnits() || slices.ContainsFunc(p.Rule.Tensor, func(f rule.TensorField) bool { return f.Count || f.Fill == rule.FillMean })
}

// TensorWord is the word of Tensor.Sums that has a tensor field of the rule.
func (p *Program) TensorWord(field int) int {
	switch {
	case p.Rule.Tensor[field].Count:
		return countWord
	case p.clipsUnits() && field >= len(p.Rule.WithoutAdaptiveClip().Tensor):
		return ruleWords + matrixWords + field
	}
	return ruleWords + field
}

//go:embed cliptensor.go
var clipTensorSource string

var (
	tensorNormGraph = sync.OnceValue(func() *ir.Func { return must(rule.Function(TensorNorm, normSource)) })
	clipTensorGraph = sync.OnceValue(func() *ir.Func { return must(rule.Function(ClipTensor, clipTensorSource)) })
)

// tensorScalars makes the passes' Tensor: of the rule's tensor functions and, before the first pass, where tensors are clipped, Shared, of which
// GradScale alone is wanted, TensorNorm and ClipTensor.
func (p *Program) tensorScalars(functions []*ir.Func) {
	for i := range p.Passes {
		q, outputs := &p.Passes[i], p.tensorOutputs(i, functions)
		if f := p.tensorGraph(i, functions[i], outputs); len(f.Stores) > 0 {
			q.Tensor = f
		}
		for _, field := range outputs {
			q.outputs = append(q.outputs, tensorOutput{field, p.TensorWord(field)})
		}
	}
	p.findTensorFields()
}

// tensorOutputs are the rule's tensor fields that the elements of a pass, or of one behind it, see by what they are before the pass.
func (p *Program) tensorOutputs(pass int, functions []*ir.Func) (fields []int) {
	stores := func(pass, field int) bool {
		f := functions[pass]
		return f != nil && slices.ContainsFunc(f.Stores, func(s ir.Store) bool { return f.Vars[s.Var].Bank == rule.TensorBank && f.Vars[s.Var].Index == field })
	}
	loads := func(pass, field int) bool {
		f := p.Passes[pass].Graph
		return slices.ContainsFunc(f.Loads(), func(v int) bool { return f.Vars[v].Bank == rule.TensorBank && f.Vars[v].Index == field })
	}
	for i := range p.Rule.Tensor {
		if pass > 0 && !stores(pass, i) {
			continue // they have seen it already
		}
		for k := pass; k < len(p.Passes) && (k == pass || !stores(k, i)); k++ {
			if loads(k, i) {
				fields = append(fields, i)
				break
			}
		}
	}
	return fields
}

// tensorGraph is a pass's Tensor: f is the rule's function before it, or nil.
func (p *Program) tensorGraph(pass int, f *ir.Func, outputs []int) *ir.Func {
	var vars []ir.Field
	at := map[ir.Field]int{} // where in vars, by bank and index
	add := func(bank, i int, name string) {
		at[ir.Field{Bank: bank, Index: i}] = len(vars)
		vars = append(vars, ir.Field{Bank: bank, Index: i, Name: name})
	}
	clips, units, own := pass == 0 && p.clipsTensors(), pass == 0 && p.clipsUnits(), p.Rule.Tensor
	inputs := p.inputNames()
	input := func(name string) { add(InputBank, len(p.Rule.Hyper)+slices.Index(inputs, name), "step."+name) }
	if clips {
		for _, name := range []string{"Scale", "MaxNorm", maxTensorNorm} {
			input(name)
		}
		add(ControlBank, ControlNorm, "norm")
		add(ControlBank, ControlUnscale, "unscale")
		add(SumsBank, 0, "sums.Sum")
		add(SumsBank, 1, "sums.Scaled")
	}
	if units {
		for _, name := range unitNames {
			input(name)
		}
	}
	if f != nil {
		for _, v := range f.Vars {
			if v.Bank == rule.ScalarsBank {
				add(v.Bank, v.Index, v.Name)
			}
		}
	}
	if len(own) > 0 {
		add(SumsBank, countWord, "sums.Count")
		if p.Matrix() {
			add(SumsBank, p.wordOf(rule.OfRows), "sums.Rows")
			add(SumsBank, p.wordOf(rule.OfColumns), "sums.Columns")
		}
		for i, t := range own {
			if !t.Count {
				add(SumsBank, p.TensorWord(i), "tensor."+t.Name)
			}
		}
	}
	for _, i := range outputs {
		add(OutputsBank, i, "out."+own[i].Name)
	}
	if clips {
		add(OutputsBank, len(own), "out.GradScale")
	}
	b := ir.NewBuilder(p.Rule.Name+" of a tensor", 64, vars)
	final := make([]ir.Value, len(vars))
	for i := range vars {
		final[i] = b.Var(i)
	}
	field := func(bank, i int) *ir.Value { return &final[at[ir.Field{Bank: bank, Index: i}]] }
	if clips {
		*field(OutputsBank, len(own)) = clipTensor(b, final)
	}
	if units {
		for i, of := range []int{p.Rule.ClippingField(), p.Rule.EpsField()} {
			*field(SumsBank, p.TensorWord(of)) = *field(InputBank, len(p.Rule.Hyper)+slices.Index(inputs, unitNames[i]))
		}
	}
	if f != nil {
		entry := make([]ir.Value, len(f.Vars))
		for i, v := range f.Vars {
			switch {
			case v.Bank == rule.ScalarsBank:
				entry[i] = *field(v.Bank, v.Index)
			case own[v.Index].Fill == rule.FillMean:
				entry[i] = b.Binary(ir.Div, *field(SumsBank, p.TensorWord(v.Index)), *field(SumsBank, p.termsWord(v.Index)))
			default:
				entry[i] = *field(SumsBank, p.TensorWord(v.Index))
			}
		}
		for i, x := range b.Inline(f, entry) {
			if v := f.Vars[i]; v.Bank == rule.TensorBank && !own[v.Index].Count && own[v.Index].Fill == rule.NoFill {
				*field(SumsBank, p.TensorWord(v.Index)) = x
			}
		}
	}
	for _, i := range outputs {
		*field(OutputsBank, i) = *field(SumsBank, p.TensorWord(i))
	}
	return b.Func(final)
}

// clipTensor adds Shared, TensorNorm and ClipTensor, of the first fields of a tensorGraph, and is the GradScale that they make.
func clipTensor(b *ir.Builder, fields []ir.Value) ir.Value {
	known := map[string]ir.Value{} // fields of the functions, by name
	for i, name := range []string{"Scale", "MaxNorm", maxTensorNorm, "Norm", "Unscale", "Sum", "Scaled"} {
		known["in."+name] = fields[i]
	}
	for _, f := range []*ir.Func{sharedGraph(), tensorNormGraph(), clipTensorGraph()} {
		entry := slices.Repeat([]ir.Value{b.Const(0)}, len(f.Vars))
		for i, v := range f.Vars {
			if x, ok := known[v.Name]; ok {
				entry[i] = x
			}
		}
		for i, x := range b.Inline(f, entry) {
			if v := f.Vars[i]; v.Bank == 1 {
				known["in."+v.Name[len("out."):]] = x
			}
		}
	}
	return known["in.GradScale"]
}
