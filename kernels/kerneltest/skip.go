package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// runSkip takes steps that are applied, unscaled, and skipped, the first one too, in several groups, by words of Step.Control. A skipped one
// changes nothing, but that gradients are set to 0 where steps do that, in tensors of all short lengths, whatever the gradients and the other words are.
func runSkip(t T, b kernels.Backend, p *kernels.Program) {
	const groups = 3
	s := b.Device().DefaultStream()
	rng := rand.New(rand.NewPCG(23, p.Options))
	shapes := straight(0, 5, 130, 600)
	if len(p.Zeroed()) > 0 && !p.Matrix() {
		shapes = slices.Concat(shapes, short())
	}
	w, counters, tensors := work(t, b, p, shapes, groups, rng)
	u := compile(t, b, w)
	control, err := kernels.NewControl(b.Device())
	require.NoError(t, err)
	want := make([][]float64, groups)
	var in kernels.Step
	for g := range want {
		want[g] = p.InitialCounters()
		if p.NumNoise() > 0 {
			want[g][stepCounter(p)] = []float64{0, 1<<16 - 3, 0x5a5afffd}[g] // the lower 16 bits run over
		}
		step := kernels.GroupStep{Scale: 1, MaxNorm: []float64{2, math.Inf(1), 7}[g], L1: 0.3, WeightDecay: 0.7, DecoupledDecay: 0.1, ClipValue: 0.6, EMADecay: 0.8,
			MaxTensorNorm: []float64{2, 0, 0.3}[g], Clipping: 0.25, ClipEps: 1e-3, Seed: 1 << 40}
		for i := range p.Rule.Hyper {
			step.Hyper = append(step.Hyper, 1/float64(i+g+3))
		}
		in.Groups = append(in.Groups, step)
	}
	in.Control = control
	if p.NumNoise() > 0 {
		upload(t, s, counters, slices.Concat(want...))
	}
	for k, words := range []struct{ norm, unscale, skip float64 }{
		{math.Inf(1), 0.5, 1}, {3, 1, 0}, {math.NaN(), math.Inf(1), 1}, {1, math.NaN(), 1}, {3, 0x1.555556p-3, 0}, {0, 0x1p-16, 0}, {5, 1, 1},
	} {
		x := make([]float64, kernels.ControlWords)
		x[kernels.ControlNorm], x[kernels.ControlUnscale], x[kernels.ControlSkip] = words.norm, words.unscale, words.skip
		upload(t, s, control, x)
		refill(t, s, p, tensors, rng)
		require.NoError(t, u.Enqueue(s, in))
		if words.skip == 0 {
			expectStep(p, in.Groups, words.norm, words.unscale, want, tensors)
		}
		for _, x := range tensors {
			for _, k := range p.Zeroed() {
				clear(x.elements(p).Planes[k])
			}
		}
		when := fmt.Sprintf("step %d by %+v", k, words)
		require.Equal(t, append([]float64{}, slices.Concat(want...)...), download[float64](t, s, counters), "%s: prologue's counters", when)
		compare(t, s, p, tensors, when)
		got := download[float64](t, s, control)
		require.True(t, slices.EqualFunc(x, got, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }), "%s: control", when)
	}
	require.NoError(t, u.Close())
	require.NoError(t, control.Close())
}

// refill puts numbers where the step before has put zeros: gradients that are all zero would show little.
func refill(t T, s *device.Stream, p *kernels.Program, tensors []*tensor, rng *rand.Rand) {
	for _, k := range p.Zeroed() {
		for _, x := range tensors {
			x.expect[k] = x.kind.numbers(rng, p.Planes[k].DType, len(x.expect[k]))
			uploadBits(t, s, x.whole[k], x.expect[k])
		}
	}
}

// stepCounter is where the number of steps is, of the counters of a program that has it.
func stepCounter(p *kernels.Program) int {
	return slices.IndexFunc(p.Counters, func(c rule.Counter) bool { return c.Name == "step" })
}

// Control holds what a device makes of the norm of gradients of each type, kernels.Norm or kernels.NormOfTensors, to kernels.Control, with settings and state of all kinds. Control's
// own graph is held to the compiled function by rule.Function.
func Control(t T, b kernels.Backend, p *kernels.Program) {
	rng := rand.New(rand.NewPCG(29, 1))
	some := func(x ...float64) float64 { return x[rng.IntN(len(x))] }
	s := b.Device().DefaultStream()
	control, err := kernels.NewControl(b.Device())
	require.NoError(t, err)
	for _, dtype := range []device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16} {
		grad, err := b.Device().Alloc(dtype, 2)
		require.NoError(t, err)
		norm, _ := newNorm(t, b, p, grad)
		for k := range map[device.DType]int{device.Float32: 1000, device.Float64: 2000, device.BFloat16: 50, device.Float16: 50}[dtype] {
			g := []float64{3, 4}
			if k%3 == 0 {
				g[k%2] = some(math.NaN(), math.Inf(1), math.Inf(-1), 61440)
			}
			if dtype == device.Float64 && k%2 == 0 {
				g = [][]float64{{3e200, 0}, {math.MaxFloat64, 0}, {1e-200 * rng.Float64(), 1e-200 * rng.Float64()}}[rng.IntN(3)] // measured a second time
			}
			require.NoError(t, device.UploadFloats(s, grad, g))
			want := make([]float64, kernels.ControlWords)
			in := want[kernels.ControlState:]
			copy(in, []float64{someScale(rng), some(0, 1, 2), some(-1, 0, 1, 2), some(0, 5), some(0, 7),
				some(0, 1, 1, 1), some(1, 1, 2, 1.7), some(1, 1, 0.5, 0.3), some(1, 1, 2, 3), some(1, 2), some(0, 0, 4), some(0, 1), some(0, 0, -1, 5e-324, 0.5, 5, 1e6, 3e200)})
			upload(t, s, control, want)
			for commit := range 2 { // measured again, nothing is counted twice
				require.NoError(t, norm.Enqueue(s, kernels.Step{Control: control}))
				require.NoError(t, norm.Enqueue(s, kernels.Step{Control: control, Commit: commit == 1}))
			}
			kernels.RunControl(want, kernels.NormBy(kernels.NormFirst, func(scale float64) float64 { return kernels.SumSquares(g, scale) }))
			copy(want[kernels.ControlState:][:kernels.ControlStateWords], want[kernels.ControlNext:])
			got := download[float64](t, s, control)
			for i := range want {
				require.True(t, math.Float64bits(got[i]) == math.Float64bits(want[i]) || got[i] != got[i] && want[i] != want[i],
					"%s, gradients %v: word %d is %v, want %v, of %v", dtype, g, i, got[i], want[i], want)
			}
		}
		require.NoError(t, norm.Close())
		require.NoError(t, grad.Close())
	}
	require.NoError(t, control.Close())
}

// someScale is a loss scale. Itself or its reciprocal is often where a rounding to float32 is hard: half way between two, subnormal, or beyond.
func someScale(rng *rand.Rand) float64 {
	bits := rng.Uint32() >> 1
	if rng.IntN(2) == 0 {
		bits >>= 8 // subnormal
	}
	x := (float64(math.Float32frombits(bits)) + float64(math.Float32frombits(bits+1))) / 2
	switch rng.IntN(8) {
	case 0:
		x = []float64{8, 65536, 3, 0, 0x1p127, 0x1p-126, 0x1.fffffep-127, 0x1p-149, 0x1p-150}[rng.IntN(9)]
	case 1:
		x = []float64{math.MaxFloat32, math.Nextafter(0x1.ffffffp127, 0), 0x1.ffffffp127, 0x1p128, math.MaxFloat64, math.Inf(1)}[rng.IntN(6)]
	case 2:
		x = math.Float64frombits(rng.Uint64() >> 1)
	case 3:
		x = math.Nextafter(x, 0)
	case 4:
		x = math.Nextafter(x, math.Inf(1))
	}
	if rng.IntN(3) == 0 {
		x = 1 / x
	}
	if rng.IntN(8) == 0 {
		x = -x // no scale, but a number to round
	}
	return x
}
