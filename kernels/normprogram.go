package kernels

import (
	_ "embed"
	"sync"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Norm is the program of the L2 norm over all elements of tensors: a reduction. Its one plane, the gradient, may have another type in each
// tensor. A work of it has no groups. What it makes of the norm goes to Step.Control.
var Norm = sync.OnceValue(func() *Program {
	return normProgram([]Stage{
		{Kind: Reduce, Over: Everything, Terms: squares(false), Loads: []int{0}},
		{Kind: Scalars, Over: Everything, Graph: controlled(normGraph(NormFirst))},
		{Kind: Reduce, Over: Everything, Terms: squares(true), Loads: []int{0}, Unless: "out.Scale", Only: device.Float64},
		{Kind: Scalars, Over: Everything, Graph: controlled(normGraph(NormScaled)), Unless: "out.Scale", Only: device.Float64},
	})
})

// NormOfTensors is Norm, with the same bits, that keeps the sums of each tensor: TensorSums, in Tensor.Sums. It reads no element more often, but
// that of float64 it reads all a second time where the total is NaN.
var NormOfTensors = sync.OnceValue(func() *Program {
	return normProgram([]Stage{
		{Kind: Reduce, Over: OneTensor, Terms: squares(false), Loads: []int{0}, Sum: 0},
		{Kind: Reduce, Over: Everything},
		{Kind: Scalars, Over: Everything, Graph: controlled(normGraph(NormFirstOfTensors))},
		{Kind: Reduce, Over: OneTensor, Terms: squares(true), Loads: []int{0}, Sum: 1, Unless: "out.Scale", Only: device.Float64},
		{Kind: Reduce, Over: Everything, Unless: "out.Scale", Only: device.Float64},
		{Kind: Scalars, Over: Everything, Graph: controlled(normGraph(NormScaled)), Unless: "out.Scale", Only: device.Float64},
	})
})

func normProgram(stages []Stage) *Program {
	return &Program{Stages: stages, Slots: []Slot{{Name: rule.Grad, Role: Gradient}}, Planes: []Plane{{Load: true}}}
}

// squares are the terms of the sum of squares, of elements multiplied by out.Scale, or as they are.
func squares(scaled bool) map[device.DType]*ir.Func {
	out := map[device.DType]*ir.Func{}
	for _, t := range []device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16} {
		f, err := format.Plain(t, device.Float64)
		if err != nil {
			panic(err)
		}
		fields := []ir.Field{{Bank: rule.ElemBank, Name: "grad", Type: f.Planes()[0].Type}, {Bank: rule.ElemBank, Index: 1, Name: "sum"}}
		if scaled {
			fields = append(fields, ir.Field{Bank: rule.ScalarsBank, Name: "out.Scale"})
		}
		b := ir.NewBuilder("sum of squares", 64, fields)
		final := []ir.Value{b.Var(0), f.Decode(b, []ir.Value{b.Var(0)})}
		if scaled {
			final = append(final, b.Var(2))
			final[1] = b.Binary(ir.Mul, final[1], final[2])
		}
		final[1] = b.Binary(ir.Mul, final[1], final[1])
		out[t] = b.Func(final)
	}
	return out
}

//go:embed normroot.go
var normSource string

func normGraph(fn func(*NormSum, *NormOf)) *ir.Func { return must(rule.Function(fn, normSource)) }

// must is the graph of a function of this package. That there is none is a mistake in it.
func must(f *ir.Func, err error) *ir.Func {
	if err != nil {
		panic(err)
	}
	return f
}
