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

// TestScalars: what executors compute the scalars from, the graph and the compiled functions, have the same bits.
func TestScalars(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	some := func() float64 {
		return []float64{0, 1, rng.NormFloat64(), rng.Float64(), math.Inf(1), math.NaN()}[rng.IntN(6)]
	}
	for _, r := range optim.Rules() {
		for set := range uint64(1) << len(r.Options) {
			p := newProgram(t, kernels.Spec{Rule: r, Options: set, Compute: device.Float32})
			for range 50 {
				g := kernels.GroupStep{Scale: some(), MaxNorm: some(), L1: some(), WeightDecay: some(), DecoupledDecay: some()}
				for range r.Hyper {
					g.Hyper = append(g.Hyper, some())
				}
				counters := make([]float64, len(r.Counters))
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
	s.Formats = ""
	require.Equal(t, kernels.Spec{Rule: s.Rule, Compute: device.Float64}, kernels.SpecOf(s, device.Float64))
	_, err := kernels.New(kernels.SpecOf(s, 0))
	require.ErrorIs(t, err, device.ErrUnsupported)
}
