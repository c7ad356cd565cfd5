package kernels

import (
	_ "embed"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// The banks of Program.Scalars, which computes in float64 what a step's elements of one group share.
const (
	InputBank   = rule.HyperBank   // what GroupStep.Inputs writes: the rule's hyperparameters, then what every program is given
	CounterBank = rule.CounterBank // Program.Counters, which are kept from step to step
	OutputsBank = rule.OutputsBank // the rule's scalars, then a rule.Shared
	ControlBank = 3                // the words of Step.Control
)

// own are the fields of SharedIn that a GroupStep has beside the rule's hyperparameters, in the order of the bank.
var own = []string{"Scale", "MaxNorm", "DecoupledDecay", "WeightDecay", "L1", "ClipValue", "EMADecay"}

// Inputs is how many numbers GroupStep.Inputs writes.
func (p *Program) Inputs() int {
	n := len(p.Rule.Hyper) + len(own)
	if p.noisy {
		n += len(seedNames)
	}
	return n
}

// Inputs writes what the group is given, in the order of bank InputBank, as many as there is room for.
func (g *GroupStep) Inputs(to []float64) {
	n := copy(to, g.Hyper)
	n += copy(to[n:], []float64{g.Scale, g.limit(), g.DecoupledDecay, g.WeightDecay, g.L1, g.ClipValue, g.EMADecay})
	seed := pieces(g.Seed)
	copy(to[n:], seed[:])
}

// limit is what gradients are clipped to: +Inf where they are not.
func (g *GroupStep) limit() float64 {
	if g.MaxNorm == 0 {
		return math.Inf(1)
	}
	return g.MaxNorm
}

// Outputs names the scalars, in the order of bank OutputsBank.
func (p *Program) Outputs() []string {
	out := slices.Clone(p.Rule.Scalars)
	for _, name := range p.aroundNames() {
		out = append(out, strings.ToUpper(name[:1])+name[1:])
	}
	return out
}

// NumScalars is how many there are.
func (p *Program) NumScalars() int { return len(p.Rule.Scalars) + len(p.aroundNames()) }

// aroundNames are the scalars beside the rule's, in the order of bank rule.SharedBank.
func (p *Program) aroundNames() []string {
	if p.noisy {
		return append(slices.Clip(sharedNames), noiseNames...)
	}
	return sharedNames
}

// RunScalars is Scalars by the compiled functions, whose bits are the same. It writes all of out, NumScalars numbers, and advances counters.
func (p *Program) RunScalars(g *GroupStep, norm, unscale float64, counters, out []float64) {
	n, own := len(p.Rule.Scalars), len(p.Rule.Counters)
	p.Rule.RunPrologue(g.Hyper, counters[:own], out[:n], p.Options)
	if own < len(counters) {
		counters[own]++
	}
	step := 0.0
	if at := p.stepAt(); at >= 0 {
		step = counters[at]
	}
	var shared SharedOut
	Shared(&SharedIn{Scale: g.Scale, Norm: norm, Unscale: unscale, MaxNorm: g.limit(), LR: g.Hyper[p.Rule.HyperIndex("LR")],
		DecoupledDecay: g.DecoupledDecay, WeightDecay: g.WeightDecay, L1: g.L1,
		ClipValue: g.ClipValue, EMADecay: g.EMADecay, Step: step}, &shared)
	n += copy(out[n:], (*rule.Shared[float64])(&shared).Numbers())
	if p.noisy {
		seed := pieces(g.Seed)
		var noise NoiseOut
		Noise(&NoiseIn{seed[0], seed[1], seed[2], seed[3], step}, &noise)
		copy(out[n:], []float64{noise.Seed0, noise.Seed1, noise.Seed2, noise.Seed3, noise.Step0, noise.Step1})
	}
}

//go:embed shared.go
var sharedSource string

// sharedGraph is the graph of Shared.
var sharedGraph = sync.OnceValue(func() *ir.Func {
	f, err := rule.Function(Shared, sharedSource)
	if err != nil {
		panic(err)
	}
	return f
})

// scalars is a rule's prologue and Shared in one graph.
func (p *Program) scalars(prologue *ir.Func) *ir.Func {
	var vars []ir.Field
	index := map[ir.Field]int{}
	field := func(bank, i int, name string) {
		index[ir.Field{Bank: bank, Index: i}] = len(vars)
		vars = append(vars, ir.Field{Bank: bank, Index: i, Name: name})
	}
	hyper, given := len(p.Rule.Hyper), own
	if p.noisy {
		given = append(slices.Clip(own), seedNames...)
	}
	for _, v := range prologue.Vars {
		if v.Bank == InputBank {
			field(InputBank, v.Index, v.Name)
		}
	}
	for i, name := range given {
		field(InputBank, hyper+i, "step."+name)
	}
	for _, v := range prologue.Vars {
		if v.Bank != InputBank {
			field(v.Bank, v.Index, v.Name)
		}
	}
	if n := len(p.Rule.Counters); n < len(p.Counters) {
		field(CounterBank, n, "step."+stepName)
	}
	for i, name := range p.aroundNames() {
		field(OutputsBank, len(p.Rule.Scalars)+i, "out."+name)
	}
	field(ControlBank, ControlNorm, "norm")
	field(ControlBank, ControlUnscale, "unscale")

	b := ir.NewBuilder(prologue.Name, 64, vars)
	final := make([]ir.Value, len(vars))
	for i := range vars {
		final[i] = b.Var(i)
	}
	// inline adds f, whose field i is the field at[i], or the number 0 where that is -1. It sees what was added before.
	inline := func(f *ir.Func, at []int) {
		entry := make([]ir.Value, len(at))
		for i, v := range at {
			if entry[i] = b.Const(0); v >= 0 {
				entry[i] = final[v]
			}
		}
		for i, x := range b.Inline(f, entry) {
			if at[i] >= 0 {
				final[at[i]] = x
			}
		}
	}
	at := make([]int, len(prologue.Vars))
	for i, v := range prologue.Vars {
		at[i] = index[ir.Field{Bank: v.Bank, Index: v.Index}]
	}
	inline(prologue, at)
	if n := len(p.Rule.Counters); n < len(p.Counters) {
		v := index[ir.Field{Bank: CounterBank, Index: n}]
		final[v] = b.Binary(ir.Add, final[v], b.Const(1))
	}
	// around inlines a function whose results are the scalars from first on.
	around := func(f *ir.Func, first int) {
		at := make([]int, len(f.Vars))
		for i, v := range f.Vars {
			switch name := strings.TrimPrefix(v.Name, "in."); {
			case v.Bank == 1:
				at[i] = index[ir.Field{Bank: OutputsBank, Index: first + v.Index}]
			case name == "LR":
				at[i] = index[ir.Field{Bank: InputBank, Index: p.Rule.HyperIndex("LR")}]
			case name == "Step":
				if at[i] = -1; p.stepAt() >= 0 {
					at[i] = index[ir.Field{Bank: CounterBank, Index: p.stepAt()}]
				}
			case name == "Norm":
				at[i] = index[ir.Field{Bank: ControlBank, Index: ControlNorm}]
			case name == "Unscale":
				at[i] = index[ir.Field{Bank: ControlBank, Index: ControlUnscale}]
			default:
				at[i] = index[ir.Field{Bank: InputBank, Index: hyper + slices.Index(given, name)}]
			}
		}
		inline(f, at)
	}
	around(sharedGraph(), len(p.Rule.Scalars))
	if p.noisy {
		around(noiseGraph(), len(p.Rule.Scalars)+len(sharedNames))
	}
	return b.Func(final)
}
