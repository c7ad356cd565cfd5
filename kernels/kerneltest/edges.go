package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
)

// runClip takes steps on a small tensor with gradient norms and limits that lead kernels.Shared everywhere. A scale halfway between two
// float32 shows what half a unit in the last place of a float64 does.
func runClip(t T, b kernels.Backend, p *kernels.Program) {
	dev := b.Device()
	s := dev.DefaultStream()
	nan, inf := math.NaN(), math.Inf(1)
	tests := []struct {
		grad        []float64
		norm, limit float64
		scale       float64
	}{
		{[]float64{3, 4}, 5, 1, -0.75}, {[]float64{3, 4}, 5, 7, -0.75}, {[]float64{3, 4}, 5, 5 + 1e-6, -0.75}, {[]float64{0}, 0, 1e-9, 3},
		{nil, 0, 2, 1}, {[]float64{1, inf}, inf, 1, 1}, {[]float64{nan}, nan, 1, 1}, {[]float64{inf}, inf, inf, -1}, {[]float64{inf}, inf, math.MaxFloat64, 1}, {[]float64{nan}, nan, inf, 1},
		{nil, 0, 1e-6 * (0.5 + 0x1p-25), 1}, {nil, 0, 1e-6 * (0.5 + 0x3p-25), 1},
		{[]float64{7.5}, 7.5, math.Nextafter(7.5+1e-6, 0), 1 + 0x3p-24}, {[]float64{7.5}, 7.5, 8, 1 + 0x1p-24}, {[]float64{7.5}, 7.5, 8, 1 + 0x3p-24},
	}
	w, counters, tensors := work(t, b, p, straight(5, 29), 1, rand.New(rand.NewPCG(13, p.Options)))
	u := compile(t, b, w)
	total, err := kernels.NewControl(dev)
	require.NoError(t, err)
	for _, tt := range tests {
		when := fmt.Sprintf("norm %v, clipped to %v", tt.norm, tt.limit)
		want := p.InitialCounters()
		upload(t, s, counters, want)
		for _, x := range tensors {
			x.again(t, s, p, 14)
		}
		grad, err := dev.Alloc(device.Float64, len(tt.grad))
		require.NoError(t, err)
		upload(t, s, grad, tt.grad)
		norm, _ := newNorm(t, b, kernels.Norm(), grad)
		g := kernels.GroupStep{Scale: tt.scale, MaxNorm: tt.limit, L1: 0.3, WeightDecay: 0.7, DecoupledDecay: 0.1, ClipValue: 60, EMADecay: 0.9}
		for i := range p.Rule.Hyper {
			g.Hyper = append(g.Hyper, 1/float64(i+3))
		}
		require.NoError(t, norm.Enqueue(s, kernels.Step{Control: total}))
		require.NoError(t, u.Enqueue(s, kernels.Step{Groups: []kernels.GroupStep{g}, Control: total}))
		expectStep(p, []kernels.GroupStep{g}, tt.norm, 1, [][]float64{want}, tensors)
		require.Equal(t, want, download[float64](t, s, counters), "%s: prologue's counters", when)
		compare(t, s, p, tensors, when)
		require.NoError(t, norm.Close())
	}
	require.NoError(t, u.Close())
}

// runClipTensors takes steps on many small tensors whose sums, and whose groups' limits, lead kernels.TensorNorm and kernels.ClipTensor everywhere. It does
// so where there is nothing else around the rule: these make the same of it.
func runClipTensors(t T, b kernels.Backend, p *kernels.Program) {
	if p.Around != rule.ClipTensorNorm || p.Formats != "" {
		return
	}
	s := b.Device().DefaultStream()
	limits := []float64{0, math.Inf(1), 1, 3 + 1e-6, math.Nextafter(3+1e-6, 0), 0.1 + 1e-6, 1e-9, math.MaxFloat64, 0x1.8p1023, 5}
	var shapes []shape
	for range len(limits) * len(tensorSums) {
		shapes = append(shapes, straight(3)...)
	}
	w, counters, tensors := work(t, b, p, shapes, len(limits), rand.New(rand.NewPCG(31, p.Options)))
	for i := range tensors {
		tensors[i].group = i / len(tensorSums) % len(limits)
		w.Tensors[i].Group = tensors[i].group
	}
	u := compile(t, b, w)
	control, err := kernels.NewControl(b.Device())
	require.NoError(t, err)
	var in kernels.Step
	for g, limit := range limits {
		step := kernels.GroupStep{Scale: []float64{1, -0.75, 1 + 0x3p-24, 1, 1}[g%5], MaxNorm: []float64{0, 1}[g/5], L1: 0.3, WeightDecay: 0.7, DecoupledDecay: 0.1,
			ClipValue: 60, EMADecay: 0.9, MaxTensorNorm: limit}
		for i := range p.Rule.Hyper {
			step.Hyper = append(step.Hyper, 1/float64(i+3))
		}
		in.Groups = append(in.Groups, step)
	}
	in.Control = control
	want := make([][]float64, len(limits))
	for g := range want {
		want[g] = p.InitialCounters()
	}
	for _, words := range []struct{ norm, unscale float64 }{{1, 1}, {5, 0x1.555556p-3}, {math.NaN(), 0.5}} {
		x := make([]float64, kernels.ControlWords)
		x[kernels.ControlNorm], x[kernels.ControlUnscale] = words.norm, words.unscale
		upload(t, s, control, x)
		for _, x := range tensors { // what a NaN has made of them would show nothing
			x.again(t, s, p, 32)
		}
		require.NoError(t, u.Enqueue(s, in))
		expectStep(p, in.Groups, words.norm, words.unscale, want, tensors)
		compare(t, s, p, tensors, fmt.Sprintf("tensors clipped beside %+v", words))
	}
	require.Equal(t, slices.Concat(want...), slices.Concat([]float64{}, download[float64](t, s, counters)), "prologue's counters")
	require.NoError(t, u.Close())
	require.NoError(t, control.Close())
}

// runEach takes two steps with hyperparameters that are all the same, but one of them in each group. With 1 and 0.5 differences from
// 1 are 0, and nothing hides how exact they are; with 0.5 and 5.7 a number of steps is not over, and an exponent has all kinds
// of digits.
func runEach(t T, b kernels.Backend, p *kernels.Program, others, one float64) {
	var hypers [][]float64
	for g := range p.Rule.Hyper {
		hyper := slices.Repeat([]float64{others}, len(p.Rule.Hyper))
		hyper[g] = one
		hypers = append(hypers, hyper)
	}
	runHypers(t, b, p, hypers, 0x1p60, 0x1p50) // a large gradient makes a small change visible in the counters
}

// runOff takes two steps in 128 groups. In each group about half of the hyperparameters are 0, which turns off what they are for;
// an eighth of them are 1, and the others between 0.05 and 0.95.
func runOff(t T, b kernels.Backend, p *kernels.Program) {
	rng := rand.New(rand.NewPCG(19, p.Options))
	var hypers [][]float64
	for range 128 {
		var hyper []float64
		for range p.Rule.Hyper {
			x := 0.05 + 0.9*rng.Float64()
			hyper = append(hyper, []float64{0, 0, 0, 0, x, x, x, 1}[rng.IntN(8)])
		}
		hyper[p.Rule.HyperIndex("LR")] = []float64{1, 0.5}[rng.IntN(2)]
		hypers = append(hypers, hyper)
	}
	runHypers(t, b, p, hypers, 0.25, 3)
}

// runHypers takes two steps with each set of hyperparameters, which has a group of its own and a tensor that has a vector at any offset.
// In the first step the gradients are 0, 1, 2, 3 and 4 times first, and again, from another on in every fourth tensor: each comes to each
// place in a vector. In the second step they are larger by the factor growth: where it is large, what the first step has put into the
// state is small beside them.
func runHypers(t T, b kernels.Backend, p *kernels.Program, hypers [][]float64, first, growth float64) {
	const elements = 9
	var shapes []shape
	n := len(hypers)
	for g := range n {
		shapes = append(shapes, shape{n: elements, offset: func(int) int { return g % 4 }, tame: true})
	}
	w, _, tensors := work(t, b, p, shapes, n, rand.New(rand.NewPCG(15, p.Options)))
	in := kernels.Step{}
	param, grad := p.Slots[p.Slot(rule.Param)].Plane, p.Slots[p.Slot(rule.Grad)].Plane
	set := func(g, plane, i int, x float64) {
		tensors[g].expect[plane][tensors[g].first(plane)+i] = reference.Bits(p.Planes[plane].DType, x)
	}
	for g := range n {
		tensors[g].group, w.Tensors[g].Group = g, g
		in.Groups = append(in.Groups, kernels.GroupStep{Hyper: hypers[g], Scale: 1, L1: 0.5, WeightDecay: 0.5, DecoupledDecay: []float64{0, 1, 0.5}[g%3],
			ClipValue: 2, EMADecay: []float64{0.5, 0, 1}[g%3]})
		for i := range elements {
			set(g, param, i, 0x1p-60*float64(i+1)) // swallows no small change
			set(g, grad, i, first*float64((i+g/4)%5))
		}
		for _, k := range []int{param, grad} {
			uploadBits(t, b.Device().DefaultStream(), tensors[g].whole[k], tensors[g].expect[k])
		}
	}
	u := compile(t, b, w)
	want := make([][]float64, n)
	for k := range 2 {
		for g, x := range tensors {
			if k == 0 {
				want[g] = p.InitialCounters()
				continue
			}
			for i := range elements {
				set(g, grad, i, growth*first*float64((i+g/4)%5))
			}
			uploadBits(t, b.Device().DefaultStream(), x.whole[grad], x.expect[grad])
		}
		require.NoError(t, u.Enqueue(b.Device().DefaultStream(), in))
		expectStep(p, in.Groups, 0, 1, want, tensors)
		compare(t, b.Device().DefaultStream(), p, tensors, fmt.Sprintf("a group for each of the hyperparameters %v: step %d", hypers, k))
	}
	require.NoError(t, u.Close())
}
