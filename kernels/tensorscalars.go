package kernels

import (
	_ "embed"
	"slices"
	"sync"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// SumWords is how many words Tensor.Sums has: those of TensorSums.
const SumWords = 2

// maxTensorNorm is the input of a program that clips each tensor, behind all others: GroupStep.MaxTensorNorm.
const maxTensorNorm = "MaxTensorNorm"

// clipsTensors says whether the program has rule.ClipTensorNorm. Where nothing is scaled, nothing is clipped.
func (s Spec) clipsTensors() bool { return s.Around&rule.ClipTensorNorm != 0 && !s.Alone }

// NumTensorScalars is how many scalars a tensor has to itself: with rule.ClipTensorNorm one, GradScale.
func (p *Program) NumTensorScalars() int {
	if p.TensorScalars == nil {
		return 0
	}
	return len(p.TensorScalars.Stores)
}

// RunTensorScalars is TensorScalars by the compiled functions, whose bits are the same. It writes all of out, NumTensorScalars numbers.
func (p *Program) RunTensorScalars(g *GroupStep, norm, unscale float64, sums, out []float64) {
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

// tensorScalars is Shared, of which GradScale alone is wanted, TensorNorm and ClipTensor in one graph; nil where the program has no need of it.
func (p *Program) tensorScalars() *ir.Func {
	if !p.clipsTensors() {
		return nil
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
	return b.Func(final)
}
