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
	InputBank   = rule.HyperBank   // what WriteInputs writes: the rule's hyperparameters, then what every program is given
	CounterBank = rule.CounterBank // Program.Counters, which are kept from step to step
	OutputsBank = rule.OutputsBank // the rule's scalars, then a rule.Shared
	ControlBank = 3                // the words of Step.Control
	SumsBank    = 4                // of Pass.Tensor: the words of Tensor.Sums
)

// stepNames are the fields of SharedIn that a GroupStep has beside the rule's hyperparameters, in the order of the bank.
var stepNames = []string{"Scale", "MaxNorm", "DecoupledDecay", "WeightDecay", "L1", "ClipValue", "EMADecay"}

// inputNames are the inputs behind the rule's hyperparameters.
func (p *Program) inputNames() []string {
	names := slices.Clip(stepNames)
	if p.noisy {
		names = append(names, seedNames...)
	}
	if p.clipsTensors() {
		names = append(names, maxTensorNorm)
	}
	if p.clipsUnits() {
		names = append(names, unitNames...)
	}
	return names
}

// Inputs is how many numbers WriteInputs writes.
func (p *Program) Inputs() int { return len(p.Rule.Hyper) + len(p.inputNames()) }

// WriteInputs writes what a group is given, in the order of bank InputBank: Inputs numbers.
func (p *Program) WriteInputs(g *GroupStep, to []float64) {
	n := copy(to, g.Hyper)
	n += copy(to[n:], []float64{g.Scale, limit(g.MaxNorm), g.DecoupledDecay, g.WeightDecay, g.L1, g.ClipValue, g.EMADecay})
	if p.noisy {
		seed := pieces(g.Seed)
		n += copy(to[n:], seed[:])
	}
	if p.clipsTensors() {
		to[n] = limit(g.MaxTensorNorm)
		n++
	}
	if p.clipsUnits() {
		copy(to[n:], []float64{g.Clipping, g.ClipEps})
	}
}

// limit is what gradients are clipped to: +Inf where they are not.
func limit(max float64) float64 {
	if max == 0 {
		return math.Inf(1)
	}
	return max
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
	if p.counts() {
		step = counters[p.StepCounter()]
	}
	var shared SharedOut
	Shared(&SharedIn{Scale: g.Scale, Norm: norm, Unscale: unscale, MaxNorm: limit(g.MaxNorm), LR: g.Hyper[p.Rule.HyperIndex("LR")],
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
var sharedGraph = sync.OnceValue(func() *ir.Func { return must(rule.Function(Shared, sharedSource)) })

// scalars is a rule's prologue, Shared and, where a step rounds stochastically, Noise in one graph.
func (p *Program) scalars(prologue *ir.Func) *ir.Func {
	j := &joined{Program: p, at: map[ir.Field]int{}}
	j.declare(prologue)
	j.Builder = ir.NewBuilder(prologue.Name, 64, j.vars)
	for i := range j.vars {
		j.final = append(j.final, j.Var(i))
	}
	j.add(prologue, func(f ir.Field) int { return j.field(f.Bank, f.Index) })
	if n := len(p.Rule.Counters); n < len(p.Counters) {
		step := &j.final[j.field(CounterBank, n)]
		*step = j.Binary(ir.Add, *step, j.Const(1))
	}
	j.addShared(sharedGraph(), len(p.Rule.Scalars))
	if p.noisy {
		j.addShared(noiseGraph(), len(p.Rule.Scalars)+len(sharedNames))
	}
	return j.Func(j.final)
}

// joined is a graph of functions one after the other, each of which sees what those before it made.
type joined struct {
	*Program
	*ir.Builder
	vars  []ir.Field
	at    map[ir.Field]int // where in vars, by bank and index
	final []ir.Value       // of each of vars, so far
}

// declare makes vars.
func (j *joined) declare(prologue *ir.Func) {
	add := func(bank, i int, name string) {
		j.at[ir.Field{Bank: bank, Index: i}] = len(j.vars)
		j.vars = append(j.vars, ir.Field{Bank: bank, Index: i, Name: name})
	}
	for _, v := range prologue.Vars {
		if v.Bank == InputBank {
			add(InputBank, v.Index, v.Name)
		}
	}
	for i, name := range j.inputNames() {
		add(InputBank, len(j.Rule.Hyper)+i, "step."+name)
	}
	for _, v := range prologue.Vars {
		if v.Bank != InputBank {
			add(v.Bank, v.Index, v.Name)
		}
	}
	if n := len(j.Rule.Counters); n < len(j.Counters) {
		add(CounterBank, n, "step."+rule.StepCounter)
	}
	for i, name := range j.aroundNames() {
		add(OutputsBank, len(j.Rule.Scalars)+i, "out."+name)
	}
	add(ControlBank, ControlNorm, "norm")
	add(ControlBank, ControlUnscale, "unscale")
}

// field is where in vars a field is.
func (j *joined) field(bank, i int) int { return j.at[ir.Field{Bank: bank, Index: i}] }

// add adds f, whose fields are those of vars that at says, or the number 0 where it says -1.
func (j *joined) add(f *ir.Func, at func(ir.Field) int) {
	entry := slices.Repeat([]ir.Value{j.Const(0)}, len(f.Vars))
	for i, v := range f.Vars {
		if k := at(v); k >= 0 {
			entry[i] = j.final[k]
		}
	}
	for i, x := range j.Inline(f, entry) {
		if k := at(f.Vars[i]); k >= 0 {
			j.final[k] = x
		}
	}
}

// addShared adds Shared or Noise, whose results are the scalars from first on.
func (j *joined) addShared(f *ir.Func, first int) {
	j.add(f, func(v ir.Field) int {
		switch name := strings.TrimPrefix(v.Name, "in."); {
		case v.Bank == 1:
			return j.field(OutputsBank, first+v.Index)
		case name == "LR":
			return j.field(InputBank, j.Rule.HyperIndex("LR"))
		case name == "Step" && !j.counts():
			return -1
		case name == "Step":
			return j.field(CounterBank, j.StepCounter())
		case name == "Norm":
			return j.field(ControlBank, ControlNorm)
		case name == "Unscale":
			return j.field(ControlBank, ControlUnscale)
		default:
			return j.field(InputBank, len(j.Rule.Hyper)+slices.Index(j.inputNames(), name))
		}
	})
}
