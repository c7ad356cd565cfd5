package kernels_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/format"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// A setting that rounds stochastically does so with the parameter and the state of 16 bits, whatever said that they have 16.
func TestStochasticFormats(t *testing.T) {
	s := rules.AdamRule().With(rules.AdamHyper{}, rules.AdamOptions{})
	s.Stochastic = true
	for _, tt := range []struct {
		param, grad   device.DType
		formats, want string
	}{
		{device.BFloat16, device.BFloat16, "exp_avg=bf16 exp_avg_sq=f16", "param=bf16/sr grad=bf16 exp_avg=bf16/sr exp_avg_sq=f16/sr"},
		{device.Float16, device.Float32, "", "param=f16/sr"},
		{device.Float32, device.BFloat16, "exp_avg=bf16", "grad=bf16 exp_avg=bf16/sr"},
		{device.Float32, device.Float32, "", ""},
		{device.Float64, device.Float64, "", ""},
	} {
		s.Formats = tt.formats
		require.Equal(t, tt.want, kernels.SpecOfTypes(s, tt.param, tt.grad).Formats)
	}
}

// What chooses the noise is in a program that rounds a stored slot stochastically, and nowhere else. It counts steps, by the rule's counter or its
// own. Keys are uniforms: the rotations that vary are
// the 13 of a draw of four slots.
func TestNoisyPrograms(t *testing.T) {
	adam := rules.AdamRule().With(rules.AdamHyper{}, rules.AdamOptions{}).Rule
	lion := rules.LionRule().With(rules.LionHyper{}, rules.LionOptions{}).Rule
	for _, tt := range []struct {
		rule             *rule.Rule
		options          uint64
		formats          string
		rotations, steps int // counters that are called step
	}{
		{adam, 0, "param=bf16 grad=bf16", 0, 1},
		{adam, 0, "grad=bf16/sr", 0, 1}, // which is only read
		{adam, 0, "exp_avg_sq=f16/sr", 13, 1},
		{adam, 1, "param=bf16/sr grad=bf16 exp_avg=bf16/sr exp_avg_sq=bf16/sr max_exp_avg_sq=bf16/sr", 25, 1}, // the fifth slot's draw needs no second word
		{lion, 0, "param=bf16/sr exp_avg=bf16/sr", 13, 1},
	} {
		p, err := kernels.New(kernels.Spec{Rule: tt.rule, Options: tt.options, Compute: device.Float32, Formats: tt.formats})
		require.NoError(t, err)
		noise := map[bool]int{true: format.NumNoise}[tt.rotations > 0]
		require.Equal(t, noise, p.NumNoise(), tt.formats)
		require.Len(t, p.Outputs(), p.NumScalars())
		rotations, index := 0, false
		for i, n := range p.Passes[0].Graph.Nodes {
			if n.Op == ir.WRotl && p.Passes[0].Varying[i] {
				rotations++
			}
			index = index || n.Op == ir.Element
		}
		require.Equal(t, noise > 0, index, tt.formats)
		require.Equal(t, tt.rotations, rotations, tt.formats)
		steps := 0
		for _, c := range p.Counters {
			if c.Name == "step" {
				steps++
			}
		}
		require.Equal(t, tt.steps, steps, tt.formats)
	}
}

// The scalars that choose the noise are the seed and the number of the step, in pieces of 16 bits, by the compiled function and by the graph.
func TestNoiseScalars(t *testing.T) {
	s := rules.LionRule().With(rules.LionHyper{LR: 1}, rules.LionOptions{})
	p, err := kernels.New(kernels.Spec{Rule: s.Rule, Compute: device.Float32, Formats: "param=bf16/sr"})
	require.NoError(t, err)
	for _, taken := range []uint64{0, 1, 1<<15 - 1, 1 << 15, 1<<16 - 2, 1<<16 - 1, 1 << 16, 3<<15 - 1, 5<<16 + 1<<15, 1<<32 - 2, 1<<39 - 2} {
		const seed = 0xfedc_0123_8000_ffff
		step := kernels.GroupStep{Hyper: s.Hyper, Scale: 1, Seed: seed}
		counters, scalars := p.InitialCounters(), make([]float64, p.NumScalars())
		counters[slices.IndexFunc(p.Counters, func(c rule.Counter) bool { return c.Name == "step" })] = float64(taken)
		again := slices.Clone(counters)
		require.Equal(t, reference.Scalars(p, step, 0, 1, counters), func() []float64 { p.RunScalars(&step, 0, 1, again, scalars); return scalars }())
		require.Equal(t, counters, again)
		require.Equal(t, []float64{0xffff, 0x8000, 0x0123, 0xfedc, float64((taken + 1) & 0xffff), float64((taken + 1) >> 16)},
			scalars[len(scalars)-p.NumNoise():], "step %d", taken+1)
	}
}
