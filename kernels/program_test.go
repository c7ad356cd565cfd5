package kernels_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
	"github.com/fusestep/fusestep/optim"
)

func newProgram(t *testing.T, s kernels.Spec) *kernels.Program {
	p, err := kernels.New(s)
	require.NoError(t, err)
	return p
}

// Equal specs are one program, as long as somebody holds it, and nothing is kept of programs and rules that nobody holds.
func TestPrograms(t *testing.T) {
	s := kernels.SpecOf(rules.AdamRule().With(rules.AdamHyper{}, rules.AdamOptions{AMSGrad: true}), device.Float32)
	p := newProgram(t, s)
	require.Same(t, p, newProgram(t, s))
	s.Around = rule.L2
	require.NotSame(t, p, newProgram(t, s))
	s.Around, s.Compute = 0, device.Float64
	require.NotSame(t, p, newProgram(t, s))

	gone := make(chan bool)
	func() {
		q := newProgram(t, kernels.Spec{Rule: rules.LionRule().Rule, Compute: device.Float64})
		runtime.AddCleanup(q, func(gone chan bool) { close(gone) }, gone)
	}()
	require.Eventually(t, func() bool {
		runtime.GC()
		select {
		case <-gone:
			return true
		default:
			return false
		}
	}, 10*time.Second, time.Millisecond)
	runtime.KeepAlive(p)
}

func TestRoles(t *testing.T) {
	roles := func(s kernels.Spec) map[string]kernels.Role {
		out := map[string]kernels.Role{}
		for _, slot := range newProgram(t, s).Slots {
			out[slot.Name] = slot.Role
		}
		return out
	}
	sophia := rules.SophiaRule().With(rules.SophiaHyper{}, rules.SophiaOptions{})
	require.Equal(t, map[string]kernels.Role{"param": kernels.Parameter, "grad": kernels.Gradient, "exp_avg": kernels.State,
		"hessian": kernels.Input}, roles(kernels.SpecOf(sophia, device.Float32)))
	average := kernels.Spec{Rule: rules.ScheduleFreeAverageRule().Rule, Compute: device.Float32, Eval: true}
	require.Equal(t, map[string]kernels.Role{"param": kernels.Evaluated, "grad": kernels.Parameter, "z": kernels.State}, roles(average))
	require.Equal(t, []string{"parameter", "gradient", "input", "state", "evaluated"}, []string{kernels.Parameter.String(), kernels.Gradient.String(),
		kernels.Input.String(), kernels.State.String(), kernels.Evaluated.String()})
	require.Equal(t, []string{"reduce", "scalars", "map"}, []string{kernels.Reduce.String(), kernels.Scalars.String(), kernels.Map.String()})
}

// What is around a rule may add a slot behind the rule's, and a store of the gradient. A rule that runs alone has nothing of it.
func TestAround(t *testing.T) {
	adam := rules.AdamRule().Rule
	s := kernels.Spec{Rule: adam, Around: rule.EMA | rule.ZeroGrad, Compute: device.Float32, Formats: "param=bf16 grad=f16 ema=bf16"}
	p := newProgram(t, s)
	require.Equal(t, s, p.Spec)
	last := p.Slots[len(p.Slots)-1]
	require.Equal(t, "ema", last.Name)
	require.Equal(t, len(adam.Slots), last.Index)
	require.Equal(t, kernels.State, last.Role)
	require.Equal(t, []string{"exp_avg", "exp_avg_sq", "ema"}, p.State())
	grad := p.Slots[p.Slot("grad")]
	require.Equal(t, kernels.Gradient, grad.Role)
	require.True(t, p.Planes[grad.Plane].Load && p.Planes[grad.Plane].Store)
	require.Equal(t, 2*(2+2+4+4+2), p.Bytes, "each of them is read and written")
	require.Equal(t, 2*(2+4+4)+2, newProgram(t, kernels.Spec{Rule: adam, Around: rule.ClipValue, Compute: device.Float32, Formats: "param=bf16 grad=bf16"}).Bytes)

	_, err := kernels.New(kernels.Spec{Rule: rules.AverageRule().Rule, Around: rule.EMA, Compute: device.Float32})
	require.ErrorContains(t, err, `the rule keeps "ema" itself`)

	sum := newProgram(t, kernels.Spec{Rule: rules.AccumulateRule().Rule, Alone: true, Compute: device.Float32})
	require.Len(t, sum.Passes[0].Graph.Nodes, 3, "two loads and a sum")
	require.Equal(t, []int{0}, sum.Passes[0].Stores)
}

// TestScalars: what executors compute the scalars from, the graph and the compiled functions, have the same bits.
func TestScalars(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	some := func() float64 {
		return []float64{0, 1, rng.NormFloat64(), rng.Float64(), math.Inf(1), math.NaN()}[rng.IntN(6)]
	}
	for _, r := range optim.Rules() {
		for set := range uint64(1) << len(r.Options) {
			p := newProgram(t, kernels.Spec{Rule: r, Options: set, Around: rule.EMA, Compute: device.Float32})
			for range 50 {
				g := kernels.GroupStep{Scale: some(), MaxNorm: some(), L1: some(), WeightDecay: some(), DecoupledDecay: some(),
					ClipValue: some(), EMADecay: some()}
				for range r.Hyper {
					g.Hyper = append(g.Hyper, some())
				}
				counters := make([]float64, len(p.Counters))
				for i := range counters {
					counters[i] = some()
				}
				norm, unscale, want := some(), some(), append([]float64(nil), counters...)
				graph := reference.Scalars(p, g, norm, unscale, want)
				compiled := make([]float64, p.NumScalars())
				p.RunScalars(&g, norm, unscale, counters, compiled)
				require.Len(t, p.Outputs(), len(graph))
				same(t, p, want, counters)
				same(t, p, graph, compiled)
			}
		}
	}
}

func same(t *testing.T, p *kernels.Program, want, got []float64) {
	for i, x := range want {
		require.True(t, reference.Same(device.Float64, math.Float64bits(x), math.Float64bits(got[i])), "%s: number %d is %v, want %v", p, i, got[i], x)
	}
}

// A setting's spec is the program's own, whatever its formats say that goes without saying.
func TestSpecOfTypes(t *testing.T) {
	s := rules.AdamRule().With(rules.AdamHyper{}, rules.AdamOptions{})
	s.Formats = "exp_avg_sq=f32 exp_avg=f16"
	for _, c := range []struct {
		parameter, gradient device.DType
		want                string
	}{
		{device.Float32, device.Float32, "exp_avg=f16"},
		{device.BFloat16, device.Float32, "param=bf16 exp_avg=f16"},
		{device.Float32, device.Float16, "grad=f16 exp_avg=f16"},
	} {
		spec := kernels.SpecOfTypes(s, c.parameter, c.gradient)
		require.Equal(t, c.want, spec.Formats)
		require.Equal(t, spec, newProgram(t, spec).Spec)
	}
	for _, c := range []struct {
		parameter     device.DType
		master, want  string
		bytes         int
		loads, stores []string
	}{
		{device.BFloat16, "", "param=bf16 grad=bf16", 22, []string{"param", "grad", "exp_avg", "exp_avg_sq"}, []string{"param", "exp_avg", "exp_avg_sq"}},
		{device.BFloat16, "f32", "param=bf16+f32 grad=bf16", 28, []string{"master", "grad", "exp_avg", "exp_avg_sq"}, []string{"param", "master", "exp_avg", "exp_avg_sq"}},
		{device.Float16, "f32", "param=f16+f32 grad=bf16", 28, []string{"master", "grad", "exp_avg", "exp_avg_sq"}, []string{"param", "master", "exp_avg", "exp_avg_sq"}},
		{device.BFloat16, "i16", "param=bf16+i16 grad=bf16", 26, []string{"param", "remainder", "grad", "exp_avg", "exp_avg_sq"}, []string{"param", "remainder", "exp_avg", "exp_avg_sq"}},
		{device.BFloat16, "i8", "param=bf16+i8 grad=bf16", 24, []string{"param", "remainder", "grad", "exp_avg", "exp_avg_sq"}, []string{"param", "remainder", "exp_avg", "exp_avg_sq"}},
		{device.Float32, "i16", "grad=bf16", 26, []string{"param", "grad", "exp_avg", "exp_avg_sq"}, []string{"param", "exp_avg", "exp_avg_sq"}},
	} {
		s.Formats, s.Master = "", c.master
		p := newProgram(t, kernels.SpecOfTypes(s, c.parameter, device.BFloat16))
		require.Equal(t, c.want, p.Formats)
		require.Equal(t, c.bytes, p.Bytes, c.want)
		names := func(planes []int) (out []string) {
			for _, k := range planes {
				out = append(out, p.PlaneName(k))
			}
			return out
		}
		require.Equal(t, c.loads, names(p.Passes[0].Loads), c.want)
		require.Equal(t, c.stores, names(p.Passes[0].Stores), c.want)
	}
	s.Master = "i16"
	_, err := kernels.New(kernels.SpecOf(s, device.Float16))
	var none *format.Error
	require.ErrorAs(t, err, &none)
	require.Equal(t, &format.Error{Slot: rule.Param, Format: "f16+i16", Compute: device.Float32}, none)
	s.Master = ""
	require.Equal(t, kernels.Spec{Rule: s.Rule, Compute: device.Float64}, kernels.SpecOf(s, device.Float64))
	_, err = kernels.New(kernels.SpecOf(s, 0))
	require.ErrorIs(t, err, device.ErrUnsupported)
}
