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
	ruleWords = 3         // the first of the rule's
)

// SumWords is how many words Tensor.Sums has at least; 0 where the program has no use for it.
func (p *Program) SumWords() int {
	for _, s := range p.Stages {
		switch {
		case s.Over == OneTensor && p.Rule == nil:
			return gradWords
		case s.Over == OneTensor:
			return ruleWords
		}
	}
	return 0
}

// InitialSums are the words of Tensor.Sums before the first step, of a tensor of n elements.
func (p *Program) InitialSums(n int) []float64 {
	out := make([]float64, p.SumWords())
	if len(out) > countWord {
		out[countWord] = float64(n)
	}
	return out
}

// maxTensorNorm is the input of a program that clips each tensor, behind all others: GroupStep.MaxTensorNorm.
const maxTensorNorm = "MaxTensorNorm"

// clipsTensors says whether the program has rule.ClipTensorNorm. Where nothing is scaled, nothing is clipped.
func (s Spec) clipsTensors() bool { return s.Around&rule.ClipTensorNorm != 0 && !s.Alone }

// NumTensorScalars is how many scalars a tensor has to itself, by the indices of bank rule.TensorBank: with rule.ClipTensorNorm one, GradScale.
func (p *Program) NumTensorScalars() int {
	if p.clipsTensors() {
		return 1
	}
	return 0
}

// RunTensorScalars is a pass's Tensor by the compiled functions, whose bits are the same. Out has NumTensorScalars numbers, of which it writes those
// that Tensor writes.
func (p *Program) RunTensorScalars(pass int, g *GroupStep, norm, unscale float64, sums, out []float64) {
	var shared SharedOut
	Shared(&SharedIn{Scale: g.Scale, Norm: norm, Unscale: unscale, MaxNorm: limit(g.MaxNorm)}, &shared)
	var of TensorNormOf
	TensorNorm(&TensorSums{Sum: sums[0], Scaled: sums[1]}, &of)
	var clipped ClipTensorOut
	ClipTensor(&ClipTensorIn{GradScale: shared.GradScale, Norm: of.Norm, MaxTensorNorm: limit(g.MaxTensorNorm)}, &clipped)
	out[0] = clipped.GradScale
}

//go:embed cliptensor.go
var clipTensorSource string

var (
	tensorNormGraph = sync.OnceValue(func() *ir.Func { return must(rule.Function(TensorNorm, normSource)) })
	clipTensorGraph = sync.OnceValue(func() *ir.Func { return must(rule.Function(ClipTensor, clipTensorSource)) })
)

// tensorScalars makes the passes' Tensor. That of the first has, where tensors are clipped, Shared, of which GradScale alone is wanted, TensorNorm and
// ClipTensor.
func (p *Program) tensorScalars() {
	if !p.clipsTensors() {
		return
	}
	var vars []ir.Field
	add := func(bank, i int, name string) { vars = append(vars, ir.Field{Bank: bank, Index: i, Name: name}) }
	inputs := p.inputNames()
	for _, name := range []string{"Scale", "MaxNorm", maxTensorNorm} {
		add(InputBank, len(p.Rule.Hyper)+slices.Index(inputs, name), "step."+name)
	}
	add(ControlBank, ControlNorm, "norm")
	add(ControlBank, ControlUnscale, "unscale")
	add(SumsBank, 0, "sums.Sum")
	add(SumsBank, 1, "sums.Scaled")
	add(OutputsBank, 0, "out.GradScale")
	b := ir.NewBuilder(p.Rule.Name+" of a tensor", 64, vars)
	final := make([]ir.Value, len(vars))
	known := map[string]ir.Value{} // fields of the functions, by name
	for i := range vars {
		final[i] = b.Var(i)
	}
	for i, name := range []string{"Scale", "MaxNorm", maxTensorNorm, "Norm", "Unscale", "Sum", "Scaled"} {
		known["in."+name] = final[i]
	}
	run := func(f *ir.Func) {
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
	run(sharedGraph())
	run(tensorNormGraph())
	run(clipTensorGraph())
	final[len(final)-1] = known["in.GradScale"]
	p.Passes[0].Tensor = b.Func(final)
}
