package format

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
)

// TestKnownAnswers are those of Random123's kat_vectors for Threefry-2x32 with 13 rounds: counter, key, result.
func TestKnownAnswers(t *testing.T) {
	f := threefryGraph()
	e, none := ir.NewEvaluator[float32](f), make([]float32, len(f.Vars))
	for _, v := range [][6]uint32{
		{0, 0, 0, 0, 0x9d1c5ec6, 0x8bd50731},
		{math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxUint32, 0xfd36d048, 0x2d17272c},
		{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xba3e4725, 0xf27d669e},
	} {
		x, y := threefry(v[2], v[3], v[0], v[1])
		require.Equal(t, [2]uint32(v[4:]), [2]uint32{x, y})
		copy(e.Words, []uint32{v[2], v[3], v[0], v[1]})
		e.Run(none)
		require.Equal(t, v[4:], e.Words[4:])
	}
}

// source is what noise depends on beside the slot and the element.
type source struct {
	seed uint64
	step uint32
}

func (s source) numbers() []float32 {
	var out []float32
	for _, piece := range []uint64{s.seed, s.seed >> 16, s.seed >> 32, s.seed >> 48, uint64(s.step), uint64(s.step >> 16)} {
		out = append(out, float32(uint16(piece)))
	}
	return out
}

// of is the noise of n elements.
func (s source) of(slot int, index uint64, n int) []uint32 {
	draws, out := make(Draws, n), make([]uint32, n)
	Draw(draws, s.numbers(), slot, index)
	draws.Of(slot, out)
	return out
}

// TestNoise: what Draw draws is what the graph makes of the same numbers, for slots of three draws, around indices with other upper words. It is
// what the key's counter and the element's make of each other, written here by itself.
func TestNoise(t *testing.T) {
	vars := make([]ir.Field, NumNoise)
	for i := range vars {
		vars[i] = ir.Field{Bank: 1, Index: i, Name: fmt.Sprint("number", i)}
	}
	const slots, n = 12, 5
	for slot := range slots {
		vars = append(vars, ir.Field{Index: slot, Name: fmt.Sprint("slot", slot), Type: ir.U32})
	}
	b := ir.NewBuilder("noise", 32, vars)
	var final, numbers []ir.Value
	for i := range NumNoise {
		numbers = append(numbers, b.Var(i))
	}
	final = append(final, numbers...)
	for slot := range slots {
		final = append(final, Noise(b, numbers, slot))
	}
	f := b.Func(final)
	varying, rotations := f.Varying(0), 0
	for i, node := range f.Nodes {
		if node.Op == ir.WRotl && varying[i] {
			rotations++
		}
	}
	require.Equal(t, 3*13, rotations, "slots of four share a draw, and keys are the same for all elements")

	e := ir.NewEvaluator[float32](f)
	for _, s := range []source{{0, 0}, {0, 1}, {math.MaxUint64, math.MaxUint32}, {0x0123456789abcdef, 0xfedcba98}, {1 << 63, 1 << 31}} {
		for _, index := range []uint64{0, 1<<32 - 2, 1<<40 + 7, math.MaxUint64 - 2, 0x9e3779b97f4a7c15} {
			for slot := range slots {
				noise := s.of(slot, index, n)
				for i, got := range noise {
					at := index + uint64(i)
					key0, key1 := threefry(uint32(s.seed), uint32(s.seed>>32), s.step, uint32(slot/4))
					x, y := threefry(key0, key1, uint32(at), uint32(at>>32))
					want := uint32((uint64(y)<<32|uint64(x))>>(16*(slot%4))) & 0xffff
					require.Equal(t, want, got, "%+v, slot %d, element %#x", s, slot, at)
					e.Index = at
					in := make([]float32, len(vars))
					copy(in, s.numbers())
					e.Run(in)
					require.Equal(t, want, e.Words[NumNoise+slot], "%+v, slot %d, element %#x", s, slot, at)
				}
			}
		}
	}
}

// noisyEncoder makes an evaluator of what Encode adds to a graph.
func noisyEncoder(f *Format) func(x float32, noise uint32) uint32 {
	vars := []ir.Field{{Name: "x"}, {Name: "noise", Type: ir.U32}, {Bank: 1, Name: "memory", Type: ir.U16}}
	b := ir.NewBuilder(f.name, 32, vars)
	e := ir.NewEvaluator[float32](b.Func([]ir.Value{b.Var(0), b.Var(1), f.Encode(b, b.Var(0), b.Var(1))[0]}))
	in := make([]float32, len(vars))
	return func(x float32, noise uint32) uint32 {
		in[0], e.Words[1] = x, noise
		e.Run(in)
		return e.Words[2]
	}
}

// stochasticNumbers are what stochastic rounding is tried on: all kinds, more of those that 16 bits hold, nearly hold, or no longer hold.
func stochasticNumbers(l *layout) (out []float32) {
	rng, n := rand.New(rand.NewPCG(1, 2)), 60
	if testing.Short() {
		n = 10
	}
	for range n {
		out = append(out, math.Float32frombits(rng.Uint32()), float32(rng.NormFloat64()))
		m := rng.Uint32N(l.infinite())
		x := float32(l.number(m))
		out = append(out, x, math.Nextafter32(x, 0), math.Nextafter32(x, 1e30), x*(1+0x1p-12))
		small := float32(l.number(1 + rng.Uint32N(4))) // subnormal in both formats
		out = append(out, small*rng.Float32(), small*(1+rng.Float32()*0x1p-12))
	}
	largest := float32(l.number(l.infinite() - 1))
	for _, x := range []float32{0, 0x1p-14, math.Nextafter32(0x1p-14, 0), math.Nextafter32(0x1p-14, 1), 0x1p-15, 0x1p-24, 0x1p-25, 0x1p-38, 0x1p-39,
		math.Nextafter32(0x1p-38, 0), math.Nextafter32(0x1p-38, 1), 0x1p-126, math.SmallestNonzeroFloat32, largest, math.Nextafter32(largest, float32(math.Inf(1))), 65519.996, 65520, 65535.996, 65536,
		math.MaxFloat32, float32(math.Inf(1)), float32(math.NaN()), math.Float32frombits(0x7fffffff), math.Float32frombits(0x7f800001)} {
		out = append(out, x, -x)
	}
	return out
}

// places are the distances from a neighbour that stochastic rounding tells apart.
var places = map[string]float64{"bf16": 1 << 16, "f16": 1 << 13}

// ups is what stochastic rounding makes of a number: the magnitude of the neighbour towards 0, and for how many of 65,536 noises the other one:
// as many as the number is far from the first, to the nearest place. Nearest is the number rounded to nearest.
func (l *layout) ups(x float32, nearest uint32, places float64) (lower uint32, up int) {
	a := math.Abs(float64(x))
	if a >= l.limit() {
		return l.infinite(), 0
	}
	if lower = nearest & 0x7fff; l.number(lower) > a {
		lower--
	}
	next := l.number(lower + 1)
	if lower+1 == l.infinite() {
		next = l.limit()
	}
	share := (a - l.number(lower)) / (next - l.number(lower)) // exact
	return lower, int(math.RoundToEven(share*places) / places * (1 << 16))
}

// stochasticChecker fails unless Store of the noises makes of each number what it should: of the least noises the neighbour towards 0, and of the
// others the other one.
func stochasticChecker(t *testing.T, name string, noises func(up int) []uint32) func(x []float32) {
	l, f := layouts[name], must(t, name+"/sr", device.Float32)
	encode := map[string]func(float32) uint32{"bf16": encodeBFloat16, "f16": encodeFloat16}[name]
	return func(x []float32) {
		var src []float32
		var noise []uint32
		var want []uint16
		for _, x := range x {
			sign, nearest := math.Float32bits(x)>>31<<15, encode(x)
			lower, up := nearest&0x7fff, 0 // of a NaN
			if x == x {
				lower, up = l.ups(x, nearest, places[name])
			}
			for _, n := range noises(up) {
				w := sign | lower
				if int(n) >= 1<<16-up {
					w++
				}
				src, noise, want = append(src, x), append(noise, n), append(want, uint16(w))
			}
		}
		got := make([]uint16, len(src))
		Store(f, [][]byte{bytes(got)}, src, noise)
		for i, w := range got {
			if w != want[i] {
				t.Fatalf("%s of %v (%#x), noise %#x, is %#x, must be %#x", name, src[i], math.Float32bits(src[i]), noise[i], w, want[i])
			}
		}
	}
}

// TestStochastic tries all noises there are, and the graph with some.
func TestStochastic(t *testing.T) {
	all := make([]uint32, 1<<16)
	for i := range all {
		all[i] = uint32(i)
	}
	for name, l := range layouts {
		f := must(t, name+"/sr", device.Float32)
		require.True(t, f.Noisy())
		require.Same(t, f, must(t, name, device.Float32).Stochastic())
		check, encode := stochasticChecker(t, name, func(int) []uint32 { return all }), noisyEncoder(f)
		for _, x := range stochasticNumbers(l) {
			check([]float32{x})
			for _, n := range []uint32{0, 1, 7, 8, 0x7fff, 0x8000, 0xfff8, 0xffff, math.Float32bits(x) & 0xffff} {
				w := []uint16{0}
				Store(f, [][]byte{bytes(w)}, []float32{x}, []uint32{n})
				require.Equal(t, uint32(w[0]), encode(x, n), "%s of %v (%#x), noise %#x", name, x, math.Float32bits(x), n)
			}
		}
	}
	for _, name := range []string{"f32", "bf16/sr"} {
		f := must(t, name, device.Float32)
		require.Same(t, f, f.Stochastic(), "there is no other")
	}
	f := must(t, "f64", device.Float64)
	require.Same(t, f, f.Stochastic())
	_, err := Parse("bf16/sr", device.Float64)
	require.Equal(t, &Error{Format: "bf16/sr", Compute: device.Float64}, err)
}

// TestStochasticAll tries all float32s, each with the least and the largest noise, and the two between which it is rounded up. It takes minutes.
func TestStochasticAll(t *testing.T) {
	if !*exhaustive {
		t.Skip("without -exhaustive")
	}
	const shards = 1 << 6
	for name := range layouts {
		for shard := range uint32(shards) {
			t.Run(fmt.Sprint(name, shard), func(t *testing.T) {
				t.Parallel()
				check := stochasticChecker(t, name, func(up int) []uint32 {
					return []uint32{0, 1<<16 - 1, uint32(max(1<<16-up-1, 0)), uint32(min(1<<16-up, 1<<16-1))}
				})
				x := make([]float32, 1<<12)
				for first := range uint32((1 << 32) / shards / (1 << 12)) {
					for i := range x {
						x[i] = math.Float32frombits(shard*((1<<32)/shards) + first<<12 + uint32(i))
					}
					check(x)
				}
			})
		}
	}
}

// rare is the exponent of the chance that a test of chance fails though all is well: less than exp(-25), 1.4e-11, for each statistic. The draws are
// always the same, so a test that has passed passes again.
const rare = 25

// chiSquared holds the counts of equally likely bins to the distribution of χ² with k degrees of freedom, by the bounds of Laurent and Massart
// (Annals of Statistics 2000, lemma 1): it is above k + 2√(k·t) + 2t, or below k - 2√(k·t), with a chance of at most exp(-t) each.
func chiSquared(t *testing.T, counts []int, what string) {
	n := 0
	for _, c := range counts {
		n += c
	}
	expected, sum := float64(n)/float64(len(counts)), 0.0
	for _, c := range counts {
		sum += (float64(c) - expected) * (float64(c) - expected) / expected
	}
	k := float64(len(counts) - 1)
	require.Less(t, sum, k+2*math.Sqrt(k*rare)+2*rare, "%s: χ² of %d draws", what, n)
	require.Greater(t, sum, k-2*math.Sqrt(k*rare), "%s: χ² of %d draws", what, n)
}

// normal is as many standard deviations as a normal number exceeds with a chance of exp(-25): its tail is below exp(-x²/2)/2, on both sides.
var normal = math.Sqrt(2 * rare)

// independent holds pairs of noise to being independent and equally likely: by χ² of the upper 8 bits of both, of the lower 8 bits, of either's
// upper and the other's lower, and by their correlation.
func independent(t *testing.T, a, b []uint32, what string) {
	bins := [4][]int{}
	for i := range bins {
		bins[i] = make([]int, 1<<16)
	}
	correlation := 0.0
	for i, x := range a {
		y := b[i]
		bins[0][x&0xff00|y>>8]++
		bins[1][x&0xff<<8|y&0xff]++
		bins[2][x&0xff00|y&0xff]++
		bins[3][x&0xff<<8|y>>8]++
		correlation += (float64(x) - 32767.5) * (float64(y) - 32767.5)
	}
	for i, name := range []string{"upper, upper", "lower, lower", "upper, lower", "lower, upper"} {
		chiSquared(t, bins[i], what+": "+name)
	}
	deviation := (1<<32 - 1) / 12.0 // of a product: both have this variance
	require.Less(t, math.Abs(correlation), normal*deviation*math.Sqrt(float64(len(a))), "%s: correlation", what)
}

// TestDraws: noise is evenly distributed along elements, steps, seeds and tensors, and that of neighbours of each kind is independent.
func TestDraws(t *testing.T) {
	n := 1 << 20
	if testing.Short() {
		n = 1 << 18
	}
	s := source{seed: 42, step: 1}
	base := s.of(0, 0, n+64)
	steps, seeds, tensors := make([]uint32, 0, n+1), make([]uint32, 0, n+1), make([]uint32, 0, n+1)
	for i := range n + 1 {
		steps = append(steps, source{42, uint32(i)}.of(0, 7, 1)...)
		seeds = append(seeds, source{uint64(i), 1}.of(0, 7, 1)...)
		tensors = append(tensors, s.of(0, uint64(i)<<40, 1)...)
	}
	for name, x := range map[string][]uint32{"elements": base, "steps": steps, "seeds": seeds, "tensors": tensors} {
		counts := make([]int, 1<<16)
		for _, w := range x {
			counts[w]++
		}
		chiSquared(t, counts, name)
	}
	for _, lag := range []int{1, 2, 8, 16, 64} {
		independent(t, base[:n], base[lag:][:n], fmt.Sprintf("elements, %d apart", lag))
	}
	independent(t, steps[:n], steps[1:], "one element in steps that follow each other")
	independent(t, seeds[:n], seeds[1:], "one element by seeds that follow each other")
	independent(t, tensors[:n], tensors[1:], "the first elements of tensors")
	for slot := 1; slot < 6; slot++ {
		for other := range slot {
			independent(t, s.of(slot, 0, n), s.of(other, 0, n), fmt.Sprintf("slots %d and %d", slot, other))
		}
	}
	for what, other := range map[string]source{"the next step": {42, 2}, "the next seed": {43, 1}, "seed and step exchanged": {1, 42},
		"a step of another upper half": {42, 1 + 1<<16}, "a seed of another upper half": {42 + 1<<32, 1}} {
		independent(t, base[:n], other.of(0, 0, n), what)
	}
	independent(t, base[:n], s.of(0, 1<<32, n), "an index of another upper half")
}

// TestUnbiased: the mean of many roundings of a number is the number, within what chance does.
func TestUnbiased(t *testing.T) {
	const n = 1 << 18
	noise, src := source{seed: 9, step: 3}.of(2, 1<<33, n), make([]float32, n)
	for _, tt := range []struct {
		format  string
		x, unit float64
	}{
		{"bf16", 1 + 0x1p-7*0.3, 0x1p-7}, {"bf16", -5e-3, 0x1p-15}, {"bf16", 0x1p-126 * 0.317, 0x1p-133},
		{"f16", 1 + 0x1p-10*0.3, 0x1p-10}, {"f16", -5e-3, 0x1p-18}, {"f16", 0x1p-15 + 0x1p-26, 0x1p-24}, {"f16", 0x1p-24 * 0.01, 0x1p-24},
	} {
		f := must(t, tt.format+"/sr", device.Float32)
		for i := range src {
			src[i] = float32(tt.x)
		}
		memory := make([]uint16, n)
		Store(f, [][]byte{bytes(memory)}, src, noise)
		back := make([]float32, n)
		Load(f, back, [][]byte{bytes(memory)})
		sum := 0.0
		for _, x := range back {
			sum += (float64(x) - float64(src[0])) / tt.unit
		}
		_, share := math.Modf(math.Abs(float64(src[0])) / tt.unit)
		bound := normal*math.Sqrt(n*share*(1-share)) + n*0x1p-14 // and the nearest of 8,192 places
		require.Less(t, math.Abs(sum), bound, "%s: the errors of %v, in units of its last place", tt.format, tt.x)
	}
}
