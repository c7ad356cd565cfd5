package rule_test

import (
	_ "embed"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed staged_test.go
var stagedSource string

// The rule below has three stages, and a tensor field of each kind.

type normElem[F rule.Float] struct {
	P F `slot:"param"`
	G F `slot:"grad"`
	M F `slot:"m"`
}
type normTensor[F rule.Float] struct {
	N       F `count:"elements"`
	Grads   F `fill:"squares"`
	Mean    F `fill:"mean"`
	Largest F `fill:"max"`
	Sum     F `fill:"sum"`
	V       F `state:"v"`
	Scale   F
	Trust   F
}
type normScalars[F rule.Float] struct{ LR, Beta F }
type normOptions struct{ Trust bool }
type normHyper struct{ LR, Beta float64 }
type normCounters struct {
	Step float64 `counter:"step"`
}

func normPrologue(h *normHyper, t *normCounters, s *normScalars[float64], o normOptions) {
	t.Step += 1
	s.LR, s.Beta = h.LR, h.Beta
}

func normSums[F rule.Float](e *normElem[F], s *normScalars[F], t *normTensor[F], o normOptions) {
	t.Grads = e.G
	if e.G > 0 {
		t.Mean = e.G
	} else {
		t.Mean = F(t.V * t.N)
	}
}

func normKept(t *normTensor[float64], s *normScalars[float64], o normOptions) {
	t.V = float64(s.Beta*t.V) + t.Grads/t.N
	t.Scale = t.Mean
	if t.V > 0 {
		t.Scale /= rule.Sqrt(t.V)
	}
}

func normMoments[F rule.Float](e *normElem[F], s *normScalars[F], t *normTensor[F], o normOptions) {
	e.M = F(e.M*s.Beta) + F(e.G*t.Scale)
	t.Largest = rule.Abs(e.M)
	if o.Trust {
		t.Sum = rule.Abs(e.P)
		return
	}
	if e.M > 1 {
		t.Largest = 1
		return
	}
}

func normTrust(t *normTensor[float64], s *normScalars[float64], o normOptions) {
	t.Trust = s.LR
	if o.Trust {
		t.Trust *= t.Sum / t.N
	}
	t.Trust /= t.Largest
}

func normStep[F rule.Float](e *normElem[F], s *normScalars[F], t *normTensor[F], o normOptions) {
	e.P -= F(t.Trust * e.M)
}

func normRule(source string) (rule.Definition[normHyper, normOptions], error) {
	return rule.NewStaged(normPrologue, source, rule.Elements(normSums[float32], normSums[float64]), rule.Tensors(normKept),
		rule.Elements(normMoments[float32], normMoments[float64]), rule.Tensors(normTrust), rule.Elements(normStep[float32], normStep[float64]))
}

// A rule with stages says what its functions are, and has a graph of each.
func TestStaged(t *testing.T) {
	d, err := normRule(stagedSource)
	require.NoError(t, err)
	require.Equal(t, "normStep", d.Name)
	require.Equal(t, 3, d.Stages)
	require.Equal(t, []rule.TensorField{{Name: "N", Count: true}, {Name: "Grads", Fill: rule.FillSquares}, {Name: "Mean", Fill: rule.FillMean},
		{Name: "Largest", Fill: rule.FillMax}, {Name: "Sum", Fill: rule.FillSum}, {Name: "V", State: "v"}, {Name: "Scale"}, {Name: "Trust"}}, d.Tensor)
	require.Equal(t, []string{"LR", "Beta"}, d.Scalars)
	for _, want := range []string{"type normTensor[", "func normSums[", "func normKept(", "func normMoments[", "func normTrust(", "func normStep[", "func normPrologue("} {
		require.Contains(t, d.Source(), want)
	}
	require.NotContains(t, d.Source(), "func normRule")

	uses := func(f *ir.Func, err error) (loads, stores []ir.Field) {
		require.NoError(t, err)
		for _, v := range f.Loads() {
			loads = append(loads, f.Vars[v])
		}
		for _, s := range f.Stores {
			stores = append(stores, f.Vars[s.Var])
		}
		return loads, stores
	}
	tensor := func(i int, name string) ir.Field { return ir.Field{Bank: rule.TensorBank, Index: i, Name: name} }
	scalar := func(i int, name string) ir.Field { return ir.Field{Bank: rule.ScalarsBank, Index: i, Name: name} }
	slot := func(i int, name string) ir.Field { return ir.Field{Bank: rule.ElemBank, Index: i, Name: name} }
	loads, stores := uses(d.Element(0, 32, 1))
	require.Equal(t, []ir.Field{slot(1, "e.G"), tensor(0, "t.N"), tensor(5, "t.V")}, loads)
	require.Equal(t, []ir.Field{tensor(1, "t.Grads"), tensor(2, "t.Mean")}, stores)
	loads, stores = uses(d.TensorFunction(1, 1))
	require.Equal(t, []ir.Field{tensor(0, "t.N"), tensor(1, "t.Grads"), tensor(2, "t.Mean"), tensor(5, "t.V"), scalar(1, "s.Beta")}, loads)
	require.Equal(t, []ir.Field{tensor(5, "t.V"), tensor(6, "t.Scale")}, stores)
	_, stores = uses(d.Element(1, 64, 1))
	require.Equal(t, []ir.Field{slot(2, "e.M"), tensor(3, "t.Largest"), tensor(4, "t.Sum")}, stores)
	_, stores = uses(d.Element(1, 64, 0))
	require.Equal(t, []ir.Field{slot(2, "e.M"), tensor(3, "t.Largest")}, stores)
	loads, stores = uses(d.Element(2, 64, 0))
	require.Equal(t, []ir.Field{slot(0, "e.P"), slot(2, "e.M"), tensor(7, "t.Trust")}, loads)
	require.Equal(t, []ir.Field{slot(0, "e.P")}, stores)
}

// New's rules have one stage and no tensor.
func TestOneStage(t *testing.T) {
	d, err := rule.New(plain[float32], plain[float64], prologue, source)
	require.NoError(t, err)
	require.Equal(t, 1, d.Stages)
	require.Empty(t, d.Tensor)
}

// Apply and RunTensor are the functions, with what is done around a rule in the stages where it is.
func TestApplyStages(t *testing.T) {
	d, err := normRule(stagedSource)
	require.NoError(t, err)
	shared := rule.Shared[float32]{GradScale: 0.5, Decay: 0.875, WeightDecay: 0.25, EMADecay: 0.5, OneMinusEMADecay: 0.5}
	param, grad, m, ema := []float32{1, -2, 4}, []float32{3, -1, 0.5}, []float32{2, 4, 8}, []float32{8, 16, 32}
	g := make([]float32, len(grad)) // as the rule sees it
	for i := range g {
		g[i] = float32(grad[i]*0.5) + float32(0.25*param[i])
	}
	pass := rule.Pass[float32]{Slots: [][]float32{param, grad, m, ema}, Scalars: []float32{0.5, 0.75}, Shared: &shared, Around: rule.L2,
		Tensor: []float32{3, -1, -1, -1, -1, 2, -1, -1}, Options: 1}
	terms := func(fields ...int) [][]float32 {
		pass.Terms = make([][]float32, len(d.Tensor))
		for _, i := range fields {
			pass.Terms[i] = make([]float32, len(grad))
		}
		return pass.Terms
	}

	pass.Loads, pass.Stores = []int{0, 1}, nil
	got := terms(1, 2)
	rule.Apply(d.Rule, &pass)
	require.Equal(t, g, got[1])
	require.Equal(t, []float32{g[0], 6, g[2]}, got[2])
	require.Equal(t, []float32{1, -2, 4}, param, "decayed in the last stage alone")

	tensor := []float64{3, 6, -4, 0, 0, 2, 0, 0}
	d.RunTensor(1, tensor, []float64{0.5, 0.75}, 1)
	v := 0.75*2 + 2.
	require.Equal(t, []float64{3, 6, -4, 0, 0, v, -4 / math.Sqrt(v), 0}, tensor)

	pass.Stage, pass.Tensor[6], pass.Around = 1, 2, rule.L2|rule.ZeroGrad
	pass.Loads, pass.Stores = []int{0, 1, 2}, []int{1, 2}
	got = terms(3, 4)
	rule.Apply(d.Rule, &pass)
	want := []float32{2*0.75 + g[0]*2, 4*0.75 + g[1]*2, 8*0.75 + g[2]*2}
	require.Equal(t, want, m)
	require.Equal(t, want, got[3])
	require.Equal(t, []float32{1, 2, 4}, got[4], "of the parameter that has not been decayed")
	require.Equal(t, []float32{0, 0, 0}, grad)

	pass.Stage, pass.Tensor[7], pass.Around = 2, 0.25, rule.EMA
	pass.Loads, pass.Stores, pass.Terms = []int{0, 2, 3}, []int{0, 3}, nil
	rule.Apply(d.Rule, &pass)
	after := []float32{1*0.875 - want[0]*0.25, -2*0.875 - want[1]*0.25, 4*0.875 - want[2]*0.25}
	require.Equal(t, after, param)
	require.Equal(t, []float32{4 + after[0]*0.5, 8 + after[1]*0.5, 16 + after[2]*0.5}, ema)
}

// Each function of a rule is compared with its source, in every field that it must leave alone, too.
func TestStagedComparison(t *testing.T) {
	tests := []struct{ name, from, to, want string }{
		{"a term", "t.Grads = e.G", "t.Grads = -e.G", "compiled function normSums, at 32 bits: t.Grads becomes"},
		{"a term that is not filled", "\tt.Grads = e.G\n", "", "t.Grads is read by normKept, but no element function before it fills it"},
		{"a field that is read", "t.V * t.N", "t.V * t.V", "compiled function normSums, at 32 bits: t.Mean becomes"},
		{"a kept number", "t.Grads/t.N", "t.Grads/t.V", "compiled function normKept, at 64 bits: t.V becomes"},
		{"state", "F(e.M*s.Beta) + F(e.G*t.Scale)", "F(e.M*s.Beta) - F(e.G*t.Scale)", "compiled function normMoments, at 32 bits: e.M becomes"},
		{"with an option", "t.Sum = rule.Abs(e.P)", "t.Sum = e.P", "compiled function normMoments, at 32 bits: t.Sum becomes"},
		{"a computed number", "t.Trust /= t.Largest", "t.Trust *= t.Largest", "compiled function normTrust, at 64 bits: t.Trust becomes"},
		{"the last stage", "e.P -= F(t.Trust * e.M)", "e.P += F(t.Trust * e.M)", "compiled function normStep, at 32 bits: e.P becomes"},
		{"a term of another stage", "t.Largest = rule.Abs(e.M)", "t.Largest = rule.Abs(e.M)\n\tt.Sum = 1", "compiled function normMoments, at 32 bits: t.Sum becomes"},
		{"another tag", "Grads   F `fill:\"squares\"`", "Grads   F `fill:\"sum\"`", "field Grads of rule_test.normTensor[float32] is not the source's field Grads"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := strings.Replace(stagedSource, tt.from, tt.to, 1)
			require.NotEqual(t, stagedSource, src)
			_, err := normRule(src)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

type averageTensor[F rule.Float] struct {
	Sum F `fill:"sum"`
	Ema F `state:"ema"`
}

func averageSums[F rule.Float](e *evalElem[F], s *evalScalars[F], t *averageTensor[F], _ struct{}) {
	t.Sum = e.G
}

func averageKept(t *averageTensor[float64], s *evalScalars[float64], _ struct{}) { t.Ema += t.Sum }

func averageStep[F rule.Float](e *evalElem[F], s *evalScalars[F], t *averageTensor[F], _ struct{}) {
	e.P -= t.Ema
}

func averageStages() (rule.Definition[evalHyper, struct{}], error) {
	files := stagedSource + readSource[strings.Index(readSource, "// The rules for evaluation."):]
	return rule.NewStaged(noStep, files, rule.Elements(averageSums[float32], averageSums[float64]), rule.Tensors(averageKept),
		rule.Elements(averageStep[float32], averageStep[float64]))
}

// A setting's state of tensors is not called as the average, and what is evaluated is a map.
func TestStagedSettingCheck(t *testing.T) {
	d, err := averageStages()
	require.NoError(t, err)
	s := d.With(evalHyper{LR: 1}, struct{}{})
	require.NoError(t, s.Check())
	s.EMA = true
	require.ErrorContains(t, s.Check(), `rule averageStep: there is an average already, of Eval or called "ema"`)
	average, err := rule.New(evaluates[float32], evaluates[float64], noStep, readSource)
	require.NoError(t, err)
	s = average.With(evalHyper{LR: 1}, struct{}{})
	s.Eval = d.Rule
	require.ErrorContains(t, s.Check(), "rule averageStep for evaluation has tensor functions or fields, must be one element function alone")

	// State that a stage before the last one has is there to be evaluated.
	staged, err := normRule(stagedSource)
	require.NoError(t, err)
	read, err := rule.New(normEvaluates[float32], normEvaluates[float64], normPrologueAlone, stagedSource)
	require.NoError(t, err)
	s = staged.With(normHyper{LR: 1}, normOptions{})
	s.Eval = read.Rule
	require.NoError(t, s.Check())
}

func normEvaluates[F rule.Float](e *normElem[F], s *normScalars[F], _ struct{}) { e.P = e.M }

func normPrologueAlone(h *normHyper, t *normCounters, s *normScalars[float64], _ struct{}) {}

// Functions that are missing are said to be.
func TestNewStagedRefuses(t *testing.T) {
	elements, tensors := rule.Elements(averageSums[float32], averageSums[float64]), rule.Tensors(averageKept)
	last := rule.Elements(averageStep[float32], averageStep[float64])
	_, err := rule.NewStaged[evalHyper, evalCount, evalScalars[float64], struct{}](noStep, stagedSource)
	require.ErrorContains(t, err, "a rule has at least one element function")
	_, err = rule.NewStaged[evalHyper, evalCount](nil, stagedSource, elements, tensors, last)
	require.ErrorContains(t, err, "a rule's function is nil")
	_, err = rule.NewStaged(noStep, stagedSource, elements, rule.Tensors[averageTensor[float64], evalScalars[float64], struct{}](nil), last)
	require.ErrorContains(t, err, "a rule's function is nil")
	files := stagedSource + readSource[strings.Index(readSource, "// The rules for evaluation."):]
	_, err = rule.NewStaged(noStep, files, elements, rule.All(averageKept), last)
	require.ErrorContains(t, err, "averageKept is a function of everything, but no field of its struct has an all tag, such as `all:\"sum\"`")
	_, err = rule.NewStaged(noStep, files, elements, rule.All[averageTensor[float64], evalScalars[float64], struct{}](nil), last)
	require.ErrorContains(t, err, "a rule's function is nil")
	together := strings.Replace(files, "Sum F `fill:\"sum\"`", "Sum F `all:\"sum\"`", 1)
	_, err = rule.NewStaged(noStep, together, elements, tensors, last)
	require.ErrorContains(t, err, "averageKept is a tensor function, but fields of its struct have all tags: it is one for All")
	none := (func(*evalElem[float64], *evalScalars[float64], *averageTensor[float64], struct{}))(nil)
	_, err = rule.NewStaged(noStep, stagedSource, rule.Elements(averageSums[float32], none), tensors, last)
	require.ErrorContains(t, err, "a rule's function is nil")
}

// What was read alone computes what the compiled functions do, and what a program does around them: in all stages, on more elements than are taken at once.
func TestReadComputes(t *testing.T) {
	d, err := normRule(stagedSource)
	require.NoError(t, err)
	read, err := rule.Read("staged.go", stagedSource, "normPrologue", "normSums", "normKept", "normMoments", "normTrust", "normStep")
	require.NoError(t, err)
	require.Equal(t, d.Stages, read.Stages)
	for set := range uint64(2) {
		var outs [2][]float64
		for i, r := range []*rule.Rule{d.Rule, read} {
			counters, scalars := []float64{3}, make([]float64, len(r.Scalars))
			r.RunPrologue([]float64{0.5, 0.25}, counters, scalars, set)
			tensor := []float64{300, 2, 0.5, 4, 8, 0.125, 1, 1}
			for stage := 1; stage < r.Stages; stage++ {
				r.RunTensor(stage, tensor, scalars, set)
			}
			outs[i] = append(append(counters, scalars...), tensor...)
			outs[i] = append(outs[i], widened(applied[float32](t, r, set))...)
			outs[i] = append(outs[i], widened(applied[float64](t, r, set))...)
		}
		require.Equal(t, outs[0], outs[1])
		require.Greater(t, len(outs[0]), 6*300*6)
	}
}

// applied is what the stages of a rule of normRule's make of some elements, and the terms that they fill.
func applied[F rule.Float](t *testing.T, r *rule.Rule, set uint64) (out []F) {
	const n = 300
	width := 64
	if F(1)+F(0x1p-30) == 1 {
		width = 32
	}
	shared := rule.Shared[F]{GradScale: 0.5, Decay: 0.75, WeightDecay: 0.25, L1: 0.125, ClipValue: 0.75, EMADecay: 0.5, OneMinusEMADecay: 0.5}
	for _, around := range []rule.Around{0, rule.ClipValue | rule.L2 | rule.L1 | rule.EMA | rule.ZeroGrad} {
		slots := make([][]F, 4)
		for k := range slots {
			for i := range n {
				slots[k] = append(slots[k], F(math.Sin(float64(i*(k+1)))*2))
			}
		}
		for stage := range r.Stages {
			f, err := r.Element(stage, width, set)
			require.NoError(t, err)
			p := rule.Pass[F]{Stage: stage, Slots: slots, Loads: []int{0}, Scalars: []F{0.5, 0.25}, Tensor: []F{n, 2, 0.5, 4, 8, 0.125, 1, 3},
				Terms: make([][]F, len(r.Tensor)), Options: set, Shared: &shared}
			for _, v := range f.Loads() {
				if f.Vars[v].Bank == rule.ElemBank && v != 0 {
					p.Loads = append(p.Loads, v)
				}
			}
			for _, s := range f.Stores {
				if v := f.Vars[s.Var]; v.Bank == rule.ElemBank {
					p.Stores = append(p.Stores, s.Var)
				} else {
					p.Terms[v.Index] = make([]F, n)
				}
			}
			if stage == r.Stages-1 && around&rule.EMA != 0 {
				p.Around = around &^ (rule.Penalties | rule.ClipValue)
				p.Loads, p.Stores = append(p.Loads, 1, 3), append(p.Stores, 1, 3)
			} else {
				p.Around = around &^ (rule.EMA | rule.ZeroGrad)
			}
			rule.Apply(r, &p)
			for _, x := range append(slots, p.Terms...) {
				out = append(out, x...)
			}
		}
	}
	return out
}

func widened[F rule.Float](x []F) (out []float64) {
	for _, v := range x {
		out = append(out, float64(v))
	}
	return out
}
