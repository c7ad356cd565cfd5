package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rules"
)

// normCases are gradients by their lengths, of types in turn. Each element is normally distributed and multiplied by scale. In the
// types of 16 bits it is multiplied by a power of two of its own, as otherwise squares are added up exactly in any order. Where
// scale is 0, all are. But some of the last of the types that has elements are the values, in random places.
var normCases = []struct {
	name    string
	types   []device.DType // in turn; nil is float32 and float64
	lengths []int
	scale   float64
	values  []float64
	want    float64 // to 15 digits, where the case tells it; otherwise 0
	long    bool    // not with -short
	times   int     // how often, with other numbers, as a sum in the wrong order may happen to be the same, less often beside one great number; 0 is once
}{
	{name: "nothing"},
	{name: "empty", lengths: []int{0, 0}, scale: 1},
	{name: "one", lengths: []int{1}, scale: 1},
	{name: "every end of a row", lengths: ascending(1, kernels.NormLanes+6), scale: 1},
	{name: "halves, every end of a row", types: halves, lengths: ascending(1, kernels.NormLanes+20), scale: 1},
	{name: "two tiles", lengths: []int{1, 1}, scale: 1},
	{name: "three tiles", lengths: []int{1, 1, 1}, scale: 1},
	{name: "four tiles", lengths: []int{1, 1, 1, 1}, scale: 1},
	{name: "511 tiles", lengths: slices.Repeat([]int{1}, 511), scale: 1},
	{name: "zeros of float32 alone", lengths: []int{300, 0, 5}},
	{name: "zeros", lengths: []int{300, 300, 5}},
	{name: "around a tile", lengths: []int{kernels.NormTile - 1, kernels.NormTile, kernels.NormTile + 1, 3}, scale: 1e-3},
	{name: "no multiple of 16 bytes from the start", lengths: []int{2, 2, 1000, 1000, 0, 0, 1000, 1000}, scale: 1},
	{name: "many tiles", lengths: []int{40*kernels.NormTile + 5, 20 * kernels.NormTile}, scale: 1},
	{name: "squares beyond float32", lengths: []int{1000, 33}, scale: 1e30},
	{name: "more tiles than a tile", lengths: slices.Repeat([]int{1, 2}, kernels.NormTile/2+3), scale: 1},
	{name: "a tile of tiles and a bit", lengths: slices.Repeat([]int{1}, kernels.NormTile+9), scale: 1, values: []float64{1e7}, long: true, times: 8},
	{name: "a tile of float32", lengths: []int{kernels.NormTile}, scale: 1, values: []float64{0x1p24}, times: 8},
	{name: "a tile of bfloat16", types: halves, lengths: []int{kernels.NormTile}, scale: 1, values: []float64{0x1p32}, times: 24},
	{name: "a tile of float16", types: halves, lengths: []int{0, kernels.NormTile}, scale: 1, values: []float64{0x1p15}, times: 8},
	{name: "a tile of float64", lengths: []int{0, kernels.NormTile}, scale: 1, values: []float64{1e7}, times: 8},
	{name: "a huge tile", lengths: []int{0, kernels.NormTile}, scale: 1e160, values: []float64{1e167}, times: 8},
	{name: "tiles of tiles for more than one block", lengths: slices.Repeat([]int{1}, 8*kernels.NormTile+5), scale: 1, long: true},

	// N1: squares that float64 does not have.
	{name: "8 of 1e160", lengths: []int{0, 8}, values: slices.Repeat([]float64{1e160}, 8), want: 2.82842712474619e160},
	{name: "4 of 1e-170", lengths: []int{0, 4}, values: slices.Repeat([]float64{1e-170}, 4), want: 2e-170},
	{name: "one of 1e-170 among zeros", lengths: []int{70, 5000}, values: []float64{-1e-170}, want: 1e-170},
	{name: "the least", lengths: []int{0, 1}, values: []float64{math.SmallestNonzeroFloat64}, want: math.SmallestNonzeroFloat64},
	{name: "the greatest", lengths: []int{1, 1}, values: []float64{math.MaxFloat64}, want: math.MaxFloat64},
	{name: "beyond the greatest", lengths: []int{0, 4}, values: slices.Repeat([]float64{math.MaxFloat64}, 4), want: math.MaxFloat64},
	{name: "huge, over tiles", lengths: []int{0, 300, 0, 2*kernels.NormTile + 77}, scale: 1e200},
	{name: "huge, more tiles than a tile", lengths: slices.Repeat([]int{0, 1}, kernels.NormTile+131), scale: 1e200},
	{name: "huge and tiny", lengths: []int{300, 700, 5, 2*kernels.NormTile + 77}, scale: 1e30, values: []float64{3e300, 1e-300, -4e300, 5e-324}, want: 5e300},
	{name: "huge, over tiles, from a multiple of 16 bytes", lengths: []int{0, 1, 0, 2*kernels.NormTile + 77}, scale: 1e200},
	{name: "huge, every end of a row", lengths: everyOther(ascending(1, kernels.NormLanes+6)), scale: 1e160},
	{name: "huge, 511 tiles", lengths: everyOther(slices.Repeat([]int{1}, 2*511)), scale: 1e160},
	{name: "huge, float64 in every lane of every tile of tiles", lengths: everyOther(slices.Repeat([]int{1}, 2*(8*kernels.NormTile+137))), scale: 1e160, long: true},
	{name: "tiny, over tiles", lengths: []int{0, 300, 0, 2*kernels.NormTile + 77}, scale: 1e-200},
	{name: "tiny, rows that end anywhere", lengths: []int{0, 3, 0, 2, 0, 7, 0, kernels.NormLanes + 6, 0, kernels.NormLanes - 1}, scale: 1e-200},
	{name: "subnormal", lengths: []int{0, 3*kernels.NormLanes + 5}, scale: 1e-310},
	{name: "around the tiny end", lengths: []int{0, 4}, values: []float64{0x1p-450, 0x1p-451}, want: 0x1p-450 * 1.118033988749895},
	{name: "just below it", lengths: []int{0, 4}, values: []float64{0x1p-451, 0x1p-451, 0x1p-452}, want: 0x1p-451 * 1.5},
	{name: "Inf", lengths: []int{10, 5000}, scale: 1, values: []float64{math.Inf(-1)}, want: math.Inf(1)},
	{name: "Inf among the tiny", lengths: []int{10, 5000}, values: []float64{math.Inf(1), 1e-300}, want: math.Inf(1)},
	{name: "NaN", lengths: []int{10, 5000}, scale: 1, values: []float64{math.NaN(), 1e300}, want: math.NaN()},
	{name: "NaN and Inf", lengths: []int{10, 5000}, scale: 1, values: []float64{math.NaN(), math.Inf(1), 1e300}, want: math.NaN()},
	{name: "float32's Inf, with float64", lengths: []int{10, 20}, scale: 1e39, want: math.Inf(1)},
	{name: "float32 alone, as small as it gets", lengths: []int{1}, scale: 1e-45},
	{name: "float32 alone, Inf", lengths: []int{300}, scale: 1e39, want: math.Inf(1)},

	{name: "one of each half", types: halves, lengths: []int{1, 1}, scale: 1},
	{name: "an odd number of tiles of halves", types: halves, lengths: []int{0, 3 * kernels.NormTile}, scale: 1},
	{name: "16 tiles of halves, and one more", types: halves, lengths: []int{16 * kernels.NormTile, 0, 5}, scale: 1},
	{name: "halves around a tile", types: halves, lengths: []int{kernels.NormTile - 1, kernels.NormTile - 9, kernels.NormTile + 1, 300, 3}, scale: 1},
	{name: "zeros of halves", types: halves, lengths: []int{300, 300, 5}},
	{name: "the least bfloat16", types: halves, lengths: []int{1}, values: []float64{0x1p-133}, want: 0x1p-133},
	{name: "the least float16", types: halves, lengths: []int{0, 1}, values: []float64{0x1p-24}, want: 0x1p-24},
	{name: "the greatest bfloat16", types: halves, lengths: []int{1}, values: []float64{-0x1.fep127}, want: 0x1.fep127},
	{name: "the greatest float16", types: halves, lengths: []int{0, 1}, values: []float64{-65504}, want: 65504},
	{name: "a bfloat16 NaN", types: halves, lengths: []int{50}, scale: 1, values: []float64{math.NaN()}, want: math.NaN()},
	{name: "a float16 Inf", types: halves, lengths: []int{33, 50}, scale: 1, values: []float64{math.Inf(-1)}, want: math.Inf(1)},
	{name: "four types", types: four, lengths: []int{5000, 33, 70, 300, 1, 1, 1, 1, 129, 260, 5000, 5000}, scale: 1},
	{name: "four types, huge", types: four, lengths: []int{5000, 0, 70, 5000}, scale: 1e200},
	{name: "a bfloat16 Inf beside the huge", types: []device.DType{device.Float64, device.BFloat16}, lengths: []int{50, 5000}, scale: 1e200, values: []float64{math.Inf(1)}, want: math.Inf(1)},
	{name: "a float16 NaN beside the huge", types: []device.DType{device.Float64, device.Float16}, lengths: []int{50, 50}, scale: 1e200, values: []float64{math.NaN()}, want: math.NaN()},
}

var (
	singles = []device.DType{device.Float32, device.Float64}
	halves  = []device.DType{device.BFloat16, device.Float16}
	four    = []device.DType{device.BFloat16, device.Float32, device.Float16, device.Float64}
)

// ascending is each length for each type.
func ascending(lo, hi int) (x []int) {
	for n := lo; n < hi; n++ {
		x = append(x, n, n)
	}
	return x
}

// everyOther is x without float32, so that every sum is one that counts where elements are scaled.
func everyOther(x []int) []int {
	for i := 0; i < len(x); i += 2 {
		x[i] = 0
	}
	return x
}

// runNorm holds the norm to the tree of kernels.SumSquares and SumTree, over tensors of all types, and then a clipped step to
// the gradient scale that it gives.
func runNorm(t *testing.T, b kernels.Backend) {
	defer b.Device().Close()
	for i, tt := range normCases {
		if tt.long && testing.Short() {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			normCase(t, b, kernels.Norm(), i)
			normTrial(t, b, kernels.NormOfTensors(), i, rand.New(rand.NewPCG(5, uint64(i))))
		})
	}
}

// Norm tries the norm, kernels.Norm or kernels.NormOfTensors, as Run does, or as it does with -short.
func Norm(t T, b kernels.Backend, p *kernels.Program, short bool) {
	for i, tt := range normCases {
		if !tt.long || !short {
			normCase(t, b, p, i)
		}
	}
}

func normCase(t T, b kernels.Backend, p *kernels.Program, i int) {
	for again := range max(normCases[i].times, 1) {
		normTrial(t, b, p, i, rand.New(rand.NewPCG(5, uint64(i)+uint64(again)<<32)))
	}
}

func normTrial(t T, b kernels.Backend, p *kernels.Program, i int, rng *rand.Rand) {
	tt := normCases[i]
	dev := b.Device()
	s := dev.DefaultStream()
	types := tt.types
	if types == nil {
		types = singles
	}
	// One buffer of each type holds all its gradients. Behind each is a NaN, which no norm may see.
	x := make([]reference.Plane, len(types))
	at := make([]int, len(tt.lengths))
	for k, n := range tt.lengths {
		of := k % len(types)
		at[k] = len(x[of])
		for range n {
			v := rng.NormFloat64() * tt.scale
			if types[of].Size() == 2 && tt.scale != 0 {
				v = math.Ldexp(rng.NormFloat64(), rng.IntN(28)-14)
			}
			x[of] = append(x[of], reference.Bits(types[of], v))
		}
		x[of] = append(x[of], reference.Bits(types[of], math.NaN()))
	}
	var free []int // places of values
	of := len(types)
	for len(free) == 0 && of > 0 {
		of--
		for k, n := range tt.lengths {
			for i := 0; k%len(types) == of && i < n; i++ {
				free = append(free, at[k]+i)
			}
		}
	}
	rng.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	for i, v := range tt.values {
		x[of][free[i]] = reference.Bits(types[of], v)
	}
	ofTensors := p == kernels.NormOfTensors()
	words := kernels.NormOfTensors().SumWords()
	own := make([]float64, words*len(tt.lengths)) // of tensors
	total := func(scale float64) float64 {
		var sums []float64
		for k, n := range tt.lengths {
			first := len(sums)
			for tile := range slices.Chunk(x[k%len(types)][at[k]:at[k]+n], kernels.NormTile) {
				var values []float64
				for _, bits := range tile {
					values = append(values, reference.Value(types[k%len(types)], bits))
				}
				sums = append(sums, kernels.SumSquares(values, scale))
			}
			if of := kernels.SumTree(slices.Clone(sums[first:])); scale == 1 {
				own[words*k] = of
			} else if types[k%len(types)] == device.Float64 {
				own[words*k+1] = of
			}
		}
		return kernels.SumTree(sums)
	}
	want := kernels.NormBy(kernels.NormFirst, total)
	if ofTensors && want != want && slices.Contains(types, device.Float64) {
		total(0x1p-600)
	}
	if tt.want != 0 && !(math.Abs(want-tt.want) <= 1e-14*tt.want || want == tt.want || want != want && tt.want != tt.want) {
		require.Fail(t, fmt.Sprintf("%s: the definition says %v, want %v", tt.name, want, tt.want))
	}
	whole := make([]*device.Buffer, len(types))
	for of, x := range x {
		var err error
		whole[of], err = dev.Alloc(types[of], len(x))
		require.NoError(t, err)
		uploadBits(t, s, whole[of], x)
	}
	var grads []*device.Buffer
	for k, n := range tt.lengths {
		g, err := whole[k%len(types)].Slice(at[k], at[k]+n)
		require.NoError(t, err)
		grads = append(grads, g)
	}
	norm, sums := newNorm(t, b, p, grads...)
	control, err := kernels.NewControl(dev)
	require.NoError(t, err)
	for range 2 { // nothing is left over from the first
		require.NoError(t, norm.Enqueue(s, kernels.Step{Control: control}))
		got := download[float64](t, s, control)[kernels.ControlNorm]
		require.True(t, math.Float64bits(want) == math.Float64bits(got) || want != want && got != got,
			"%s: norm is %v (%x), want %v (%x)", tt.name, got, math.Float64bits(got), want, math.Float64bits(want))
		for i, got := range downloadSums(t, s, sums) {
			want := own[i]
			require.True(t, math.Float64bits(want) == math.Float64bits(got) || want != want && got != got,
				"%s: sum %d of tensor %d is %v, want %v", tt.name, i%words, i/words, got, want)
		}
	}
	for _, maxNorm := range []float64{want / 3, min(want*2, math.MaxFloat64)} {
		if math.IsInf(want, 1) || want != want {
			break // what clipping makes of that is kernels.GradScale's matter
		}
		clippedStep(t, b, control, want, maxNorm)
	}
	require.NoError(t, norm.Close())
	require.NoError(t, control.Close())
	if sums != nil {
		require.NoError(t, sums.Close())
	}
	for _, b := range whole {
		require.NoError(t, b.Close())
	}
}

// newNorm compiles kernels.Norm of gradients, or kernels.NormOfTensors, whose sums lie side by side in the buffer.
func newNorm(t T, b kernels.Backend, p *kernels.Program, grads ...*device.Buffer) (u kernels.Update, sums *device.Buffer) {
	w := kernels.Work{Program: p}
	if p == kernels.NormOfTensors() {
		var err error
		sums, err = b.Device().Alloc(device.Float64, p.SumWords()*len(grads))
		require.NoError(t, err)
		require.NoError(t, b.Device().DefaultStream().Zero(sums))
	}
	for i, g := range grads {
		tensor := kernels.Tensor{Planes: []*device.Buffer{g}}
		if sums != nil {
			var err error
			tensor.Sums, err = sums.Slice(p.SumWords()*i, p.SumWords()*(i+1))
			require.NoError(t, err)
		}
		w.Tensors = append(w.Tensors, tensor)
	}
	return compile(t, b, w), sums
}

// downloadSums is what newNorm's sums are, none where there are none.
func downloadSums(t T, s *device.Stream, sums *device.Buffer) []float64 {
	if sums == nil {
		return nil
	}
	return download[float64](t, s, sums)
}

// clippedStep runs plain gradient descent on one tensor of its own with the norm.
func clippedStep(t T, b kernels.Backend, norm *device.Buffer, total, maxNorm float64) {
	sgd := rules.SGDRule().With(rules.SGDHyper{LR: 0.5}, rules.SGDOptions{})
	p := newProgram(t, kernels.SpecOf(sgd, device.Float32))
	w, _, tensors := work(t, b, p, straight(100), 1, rand.New(rand.NewPCG(7, 8)))
	u := compile(t, b, w)
	g := kernels.GroupStep{Hyper: sgd.Hyper, Scale: -1, MaxNorm: maxNorm}
	s := b.Device().DefaultStream()
	require.NoError(t, u.Enqueue(s, kernels.Step{Groups: []kernels.GroupStep{g}, Control: norm}))
	expectStep(p, []kernels.GroupStep{g}, total, 1, [][]float64{p.InitialCounters()}, tensors)
	compare(t, s, p, tensors, "clipped step")
	require.NoError(t, u.Close())
}
