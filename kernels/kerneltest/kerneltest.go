// Package kerneltest holds a kernels.Backend to the rules: whatever a backend runs them with, the bits are those of package reference, for all
// options, element types, lengths, alignments and numbers, and no byte beside the tensors changes. Where kernels can be recorded, every second step
// is run from a record.
package kerneltest

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/kernels/rules"
)

// T is who is told of a failure: a *testing.T, or who counts how a backend that is wrong on purpose fails.
type T interface {
	require.TestingT
	Fatalf(format string, args ...any)
}

// lengths of tensors beside all up to 130: around a warp, a cache line, a tile, a GPU's chunk.
var lengths = []int{0, 1, 31, 32, 33, 127, 1023, 4097, 16<<10 + 5}

// tiles are lengths around those of tiles.
var tiles = []int{kernels.NormTile - 1, kernels.NormTile, kernels.NormTile + kernels.NormLanes, 3*kernels.NormTile + 77}

const (
	long       = 1<<20 + 7 // many chunks; once a rule of every longStride, and not with -short
	guard      = 64        // elements on both sides of a tensor
	steps      = 3
	longStride = 4
	groups     = 300 // more than one block of a GPU's prologue
)

// everything is all that can be done around a rule.
const everything = rule.ClipTensorNorm | rule.ClipValue | rule.Penalties | rule.EMA | rule.ZeroGrad

// Programs are what Run tries of a rule that computes with a type: every set of options, with something around the rule the first and the
// last set, and with other formats than the type's own 16 bits for parameter and gradient, 16 for all, those that round stochastically, a
// mixture, and each kind of master.
func Programs(r *rule.Rule, t device.DType) []kernels.Spec {
	return slices.DeleteFunc(programs(r, t), func(s kernels.Spec) bool { return s.Around&kernels.Refused(r) != 0 })
}

func programs(r *rule.Rule, t device.DType) (out []kernels.Spec) {
	everything := everything &^ kernels.Refused(r)
	all := uint64(1)<<len(r.Options) - 1
	for set := range all + 1 {
		out = append(out, kernels.Spec{Rule: r, Options: set, Compute: t})
	}
	out = append(out, kernels.Spec{Rule: r, Around: rule.L1, Compute: t}, kernels.Spec{Rule: r, Around: rule.L2, Compute: t},
		kernels.Spec{Rule: r, Options: all, Around: rule.Penalties, Compute: t},
		kernels.Spec{Rule: r, Around: rule.ClipValue, Compute: t}, kernels.Spec{Rule: r, Around: rule.EMA, Compute: t},
		kernels.Spec{Rule: r, Around: rule.ClipTensorNorm, Compute: t}, kernels.Spec{Rule: r, Options: all, Around: rule.ClipTensorNorm | rule.ClipValue, Compute: t},
		kernels.Spec{Rule: r, Around: rule.ZeroGrad, Compute: t}, kernels.Spec{Rule: r, Options: all, Around: everything, Compute: t})
	if t != device.Float32 {
		return out
	}
	var half, noisy, mixed []string
	for i, slot := range r.Slots {
		half = append(half, slot+"=f16")
		noisy = append(noisy, slot+"="+[]string{"bf16/sr", "f16/sr"}[i/2%2])
		mixed = append(mixed, slot+"="+[]string{"f32", "bf16", "f16"}[(i+1)%3])
	}
	for i, master := range masters {
		out = append(out, kernels.Spec{Rule: r, Options: uint64(i%2) * all, Compute: t, Formats: "param=" + master + " grad=bf16"})
	}
	return append(out, kernels.Spec{Rule: r, Compute: t, Formats: "param=bf16 grad=bf16"},
		kernels.Spec{Rule: r, Options: all, Compute: t, Formats: strings.Join(half, " ")},
		kernels.Spec{Rule: r, Options: all, Around: rule.L2, Compute: t, Formats: strings.Join(noisy, " ")},
		kernels.Spec{Rule: r, Options: all, Around: rule.Penalties, Compute: t, Formats: strings.Join(mixed, " ")},
		kernels.Spec{Rule: r, Around: rule.EMA | rule.ZeroGrad, Compute: t, Formats: "param=bf16+i16 grad=bf16"},
		kernels.Spec{Rule: r, Around: rule.ClipTensorNorm, Compute: t, Formats: "param=bf16+i16 grad=bf16"},
		kernels.Spec{Rule: r, Options: all, Around: rule.ClipTensorNorm | rule.L2, Compute: t, Formats: strings.Join(noisy, " ")},
		kernels.Spec{Rule: r, Options: all, Around: everything, Compute: t, Formats: strings.Join(noisy, " ") + " ema=bf16/sr"},
		kernels.Spec{Rule: r, Options: all, Around: everything, Compute: t, Formats: strings.Join(half, " ") + " ema=f16"},
		kernels.Spec{Rule: r, Options: all, Around: everything, Compute: t, Formats: strings.Join(mixed, " ") + " ema=bf16"})
}

// beside are the programs that optimizers have beside updates, of a type that is computed with: sums of gradients, and what is evaluated of
// an average.
func beside(t device.DType) (out []kernels.Spec) {
	sum, average := rules.AccumulateRule().Rule, rules.AverageRule().Rule
	held := []device.DType{t}
	if t == device.Float32 {
		held = append(held, device.BFloat16, device.Float16)
	}
	for _, s := range held {
		f := "grad=" + s.Short()
		out = append(out, kernels.Spec{Rule: sum, Alone: true, Compute: t, Formats: f}, kernels.Spec{Rule: sum, Alone: true, Around: rule.ZeroGrad, Compute: t, Formats: f},
			kernels.Spec{Rule: average, Eval: true, Compute: t, Formats: f + " param=" + s.Short()})
	}
	return out
}

// masters are the parameter's formats that have a second plane.
var masters = []string{"bf16+f32", "bf16+i16", "f16+f32", "bf16+i8"}

var every = flag.Bool("kerneltest.every", false, "try all programs of all rules")

// Run tries the rules and those of Staged and Matrices, with all sets of options, every second rule in float64, too, the norm and the traffic. Of what
// is around a rule, and of formats, each is tried with every eighth rule, with every second of Staged, and with every fourth of Matrices where tensors
// have rows; with the flag -kerneltest.every, with all of them; with -short, with fewer. Open returns a device, which the suite closes; backends whose
// results could depend on how many threads they have, or in which order, should be run once for each.
func Run(t *testing.T, of []*rule.Rule, open func(t *testing.T) kernels.Backend) {
	matrices := Matrices(t)
	several := slices.Concat(Staged(t), matrices)
	of = slices.Concat(of, several)
	stride := func(r *rule.Rule) int { // every so many rules
		switch {
		case *every:
			return 1
		case slices.Contains(several, r) && testing.Short():
			return 6
		case slices.Contains(matrices, r):
			return 4
		case slices.Contains(several, r):
			return 2
		case testing.Short():
			return 12
		}
		return 8
	}
	for _, dtype := range []device.DType{device.Float32, device.Float64} {
		for _, s := range slices.Concat(beside(dtype), adaptive(dtype)) {
			t.Run(s.String(), func(t *testing.T) {
				b := open(t)
				defer b.Device().Close()
				p := newProgram(t, s)
				program(t, b, p, lengths, false)
				traffic(t, b, p)
			})
		}
	}
	for i, r := range of {
		for _, dtype := range []device.DType{device.Float32, device.Float64} {
			if dtype == device.Float64 && i%2 == 1 && !*every {
				continue
			}
			for k, s := range Programs(r, dtype) {
				if (s.Formats != "" || s.Around != 0) && (i+k)%stride(r) != 0 {
					continue
				}
				if slices.Contains(matrices, r) && (s.Formats != "" || s.Around != 0) && !s.Matrix() && !*every {
					continue // of which Staged has more
				}
				n := lengths
				if i%longStride == 0 && s.Options == 1<<len(r.Options)-1 && s.Around == 0 && dtype == device.Float32 && !testing.Short() {
					n = append(append([]int(nil), n...), long)
				}
				runSpec(t, s, n, open)
			}
		}
	}
	t.Run("no matrix", func(t *testing.T) { runNoMatrix(t, open(t)) })
	t.Run("norm", func(t *testing.T) { runNorm(t, open(t)) })
	t.Run("control", func(t *testing.T) {
		b := open(t)
		defer b.Device().Close()
		Control(t, b, kernels.Norm())
		Control(t, b, kernels.NormOfTensors())
	})
	t.Run("traffic", func(t *testing.T) { runTraffic(t, of, open(t)) })
}

// RunNames tries the rule of Names with all that Programs are; with -short, with a sixth of what is around it and of formats, and all its options or none. Once
// for each way to write a program is enough: beside names, the rule is as others are.
func RunNames(t *testing.T, open func(t *testing.T) kernels.Backend) {
	r := Names(t)
	for _, dtype := range []device.DType{device.Float32, device.Float64} {
		for k, s := range Programs(r, dtype) {
			few := s.Options == 0 || s.Options == 1<<len(r.Options)-1 // of names that are all taken, fewer are no news
			if testing.Short() && (!few || (s.Formats != "" || s.Around != 0) && k%6 != 0) {
				continue
			}
			runSpec(t, s, lengths, open)
		}
	}
	t.Run("traffic of names", func(t *testing.T) { runTraffic(t, []*rule.Rule{r}, open(t)) })
}

func runSpec(t *testing.T, s kernels.Spec, lengths []int, open func(t *testing.T) kernels.Backend) {
	t.Run(s.String(), func(t *testing.T) {
		b := open(t)
		defer b.Device().Close()
		p := newProgram(t, s)
		for _, plane := range p.Planes {
			if !slices.Contains(b.Storage(p.Compute), plane.DType) {
				t.Skipf("%s holds no %s", b.Device().Name(), plane.DType)
			}
		}
		program(t, b, p, lengths, s.Around == 0 && s.Formats == "")
	})
}

// Program tries one program, as Run does with -short those without penalties.
func Program(t T, b kernels.Backend, p *kernels.Program) { program(t, b, p, lengths, true) }

func newProgram(t T, s kernels.Spec) *kernels.Program {
	p, err := kernels.New(s)
	require.NoError(t, err)
	return p
}

// tensor is a tensor on the device and what it should be.
type tensor struct {
	shape
	group  int
	index  uint64
	kind   kind
	sums   []float64         // kernels.Tensor.Sums
	own    *device.Buffer    // the same on the device
	whole  []*device.Buffer  // by plane, with guards
	expect []reference.Plane // by plane, with guards
}

// program tries a program: in full, or what penalties could make wrong, which change neither the prologue nor how a pass walks its
// tensors.
func program(t T, b kernels.Backend, p *kernels.Program, lengths []int, full bool) {
	rng := rand.New(rand.NewPCG(3, p.Options))
	r := p.Rule
	runClip(t, b, p)
	runClipTensors(t, b, p)
	runSkip(t, b, p)
	shapes := slices.Concat(pairs(p), straight(31, 127))
	if p.Formats != "" {
		shapes = slices.Concat(pairs(p), straight(31, 127, 1023, 4097), short(), apart(len(p.Planes)))
	}
	if full {
		runEach(t, b, p, 1, 0.5)
		runEach(t, b, p, 0.5, 5.7)
		runOff(t, b, p)
		shapes = slices.Concat(pairs(p), straight(lengths...), short(), apart(len(p.Planes)))
	}
	if len(p.Passes) > 1 {
		shapes = slices.Concat(shapes, straight(tiles...), summed(full))
	}
	if r.Everything {
		shapes = slices.DeleteFunc(shapes, func(s shape) bool { return s.pairs })
	}
	if p.Matrix() { // what is of elements alone, the program without rows has been tried with
		shapes = matrix(p, full)
	}
	w, counters, tensors := work(t, b, p, shapes, groups, rng)
	u := compile(t, b, w)
	want := make([][]float64, groups)
	for g := range want {
		want[g] = p.InitialCounters()
	}
	s := b.Device().DefaultStream()
	if p.Around&rule.EMA != 0 {
		want[0][stepCounter(p)] = 1 // the first step would not look at what the average is
		upload(t, s, counters, slices.Concat(want...))
	}
	for k := range steps {
		var in kernels.Step
		for g := range groups {
			hyper := func() float64 {
				if g == 0 && k == 0 {
					return 0.5 // exact, which brings what is twice a limit to the limit
				}
				return 0.05 + 0.9*rng.Float64()
			}
			// L1 is 1 first, so that what it is multiplied by can be seen exactly. Each group has each scale, as tensors of a shape may be of one group alone.
			step := kernels.GroupStep{Scale: []float64{1, -1, 0.75}[(g+k)%3], L1: 2 * hyper(), WeightDecay: hyper(), ClipValue: hyper(), EMADecay: hyper(),
				MaxTensorNorm: []float64{1, 0, math.Inf(1)}[k] * hyper(), Clipping: []float64{0.1, 1, 8}[k] * hyper(), ClipEps: 0x1p-8 * hyper(), Seed: 0xfedcba9876543210 + uint64(g)}
			if g%2 == 1 {
				step.DecoupledDecay = hyper()
			}
			for range r.Hyper {
				step.Hyper = append(step.Hyper, hyper())
			}
			in.Groups = append(in.Groups, step)
		}
		if k > 0 {
			refill(t, s, p, tensors, rng)
		}
		require.NoError(t, u.Enqueue(s, in))
		expectStep(p, in.Groups, 0, 1, want, tensors)
		require.Equal(t, append([]float64{}, slices.Concat(want...)...), download[float64](t, s, counters), "step %d: prologue's counters", k)
		compare(t, s, p, tensors, fmt.Sprintf("step %d", k))
	}
	require.NoError(t, u.Close())
}

// work makes tensors on any numbers, in three of the groups; those of pairs are in the first.
func work(t T, b kernels.Backend, p *kernels.Program, shapes []shape, groups int, rng *rand.Rand) (w kernels.Work, counters *device.Buffer, tensors []*tensor) {
	dev := b.Device()
	s := dev.DefaultStream()
	w = kernels.Work{Program: p}
	for _, shape := range shapes {
		x := &tensor{shape: shape, group: []int{groups - 1, 0, groups / 2}[len(tensors)%3]}
		if x.pairs {
			x.group = 0
		}
		if !p.Matrix() {
			x.rows, x.batch = 0, 0
		} else if x.rows == 0 {
			x.rows = someRows(x.n, len(tensors))
			x.batch = someRows(x.rows, len(tensors)+3)
		}
		x.kind = kindOf(p, shape, len(tensors))
		to := kernels.Tensor{Group: x.group, ID: ids[len(tensors)%len(ids)], Shape: []int{shape.n}, Offset: 3 * len(tensors), Rows: x.rows, Matrices: x.batch}
		x.index = to.Index()
		for k, plane := range p.Planes {
			n := x.numbers(plane.Domain)
			expect := x.kind.numbers(rng, plane.DType, 2*guard+4+n)
			if x.pairs {
				fillPairs(rng, p.Of(k).Role, plane.DType, expect[x.first(k):][:n])
				x.kind.limit(plane.DType, expect)
			}
			whole, err := dev.Alloc(plane.DType, len(expect))
			require.NoError(t, err)
			uploadBits(t, s, whole, expect)
			own, err := whole.Slice(x.first(k), x.first(k)+n)
			require.NoError(t, err)
			x.expect, x.whole, to.Planes = append(x.expect, expect), append(x.whole, whole), append(to.Planes, own)
		}
		if n := p.SumWords(); n > 0 && p.Rule.Everything && len(tensors) > 0 {
			x.sums, x.own, to.Sums = tensors[0].sums, tensors[0].own, tensors[0].own
		} else if n > 0 {
			x.sums = p.InitialSums(x.n, x.rows, x.batch)
			of := tensorSums[len(tensors)%len(tensorSums)]
			x.sums[0], x.sums[1] = of.Sum, of.Scaled
			x.begin(rng, p)
			own, err := dev.Alloc(device.Float64, n)
			require.NoError(t, err)
			upload(t, s, own, x.sums)
			to.Sums, x.own = own, own
		}
		tensors = append(tensors, x)
		w.Tensors = append(w.Tensors, to)
	}
	words := len(p.Counters)
	counters, err := dev.Alloc(device.Float64, groups*words)
	require.NoError(t, err)
	upload(t, s, counters, slices.Repeat(p.InitialCounters(), groups))
	for g := range groups {
		of, err := counters.Slice(g*words, (g+1)*words)
		require.NoError(t, err)
		w.Counters = append(w.Counters, of)
	}
	return w, counters, tensors
}

// ids of tensors: so that indices begin at 0, pass a multiple of 2³² and the last index there is, and are any.
var ids = []uint64{0, 1<<32 - 70, 5<<32 - 50, math.MaxUint64 - 100, 0x9e3779b97f4a7c15}

// tensorSums are sums of tensors: those that clip and those that do not, those that float64 has to scale, and those of elements that are not finite.
var tensorSums = []kernels.TensorSums{{Sum: 9}, {Sum: 0}, {Sum: 0.01}, {Sum: math.Inf(1), Scaled: 0x1p-100}, {Sum: 0x1p200, Scaled: math.NaN()}, {Sum: math.NaN()},
	{Sum: 1e-8}, {Sum: math.Inf(1)}, {Sum: math.Inf(1), Scaled: 0x1p848}, {Sum: 1, Scaled: 5}, {Sum: math.Inf(1), Scaled: math.Inf(1)}, {Sum: 1 - 0x1p-53},
	{Sum: 0x1p-1022}, {Sum: math.MaxFloat64, Scaled: 0x1p-100}, {Sum: math.Inf(1), Scaled: math.MaxFloat64}}

// begin gives the words of Tensor.Sums that are the rule's numbers: those that are kept, and others, which a step must not look at before it makes them.
func (x *tensor) begin(rng *rand.Rand, p *kernels.Program) {
	for i, f := range p.Rule.Tensor {
		switch word := &x.sums[p.TensorWord(i)]; {
		case f.Count:
		case f.State != "":
			*word = rng.Float64()
		default:
			*word = -1e30 * rng.Float64()
		}
	}
}

// again makes a tensor's numbers new ones.
func (x *tensor) again(t T, s *device.Stream, p *kernels.Program, seed uint64) {
	for k := range x.expect {
		x.expect[k] = x.kind.numbers(rand.New(rand.NewPCG(seed, uint64(k))), p.Planes[k].DType, len(x.expect[k]))
		uploadBits(t, s, x.whole[k], x.expect[k])
	}
	if x.own != nil {
		x.begin(rand.New(rand.NewPCG(seed, 1<<32)), p)
		upload(t, s, x.own, x.sums)
	}
}

// elements are the expected elements of a tensor, without the guards, and its sums.
func (x *tensor) elements(p *kernels.Program) (out reference.Tensor) {
	out.Group, out.Index, out.Rows, out.Matrices, out.Sums = x.group, x.index, x.rows, x.batch, x.sums
	for k, whole := range x.expect {
		out.Planes = append(out.Planes, whole[x.first(k):][:x.numbers(p.Planes[k].Domain)])
	}
	return out
}

// expectStep is a step of the groups on what is expected.
func expectStep(p *kernels.Program, groups []kernels.GroupStep, norm, unscale float64, counters [][]float64, tensors []*tensor) {
	var of []reference.Tensor
	for _, x := range tensors {
		of = append(of, x.elements(p))
	}
	reference.Step(p, groups, norm, unscale, counters, of)
}

// compare holds whole buffers, guards included, to what is expected. NaN is NaN, whatever its payload.
func compare(t T, s *device.Stream, p *kernels.Program, tensors []*tensor, when string) {
	var m memory
	for i, x := range tensors {
		if x.own != nil {
			for k, got := range download[float64](t, s, x.own) {
				if want := x.sums[k]; math.Float64bits(got) != math.Float64bits(want) && (got == got || want == want) {
					t.Fatalf("%s: tensor %d of %s: word %d of its sums is %v, want %v", when, i, x.shape, k, got, want)
				}
			}
		}
		for k, want := range x.expect {
			dtype := p.Planes[k].DType
			differences(t, s, x.whole[k], &m, want, func(j int, got uint64) {
				if reference.Same(dtype, got, want[j]) {
					return
				}
				e := j - x.first(k)
				if e < 0 || e >= x.numbers(p.Planes[k].Domain) || !reference.Agree(p, k, got, func(k int) uint64 { return x.expect[k][x.first(k)+e] }) {
					t.Fatalf("%s: tensor %d of %s: %s[%d] is %s, want %s", when, i, x.shape,
						p.PlaneName(k), j-x.first(k), reference.Text(dtype, got), reference.Text(dtype, want[j]))
				}
			})
		}
	}
}

// upload and download ask require for nothing where there is no error: it would look for who has called at each of their many calls.
func upload[E device.Element](t T, s *device.Stream, b *device.Buffer, x []E) {
	if err := errors.Join(device.Upload(s, b, x), s.Synchronize()); err != nil {
		require.NoError(t, err)
	}
}

func download[E device.Element](t T, s *device.Stream, b *device.Buffer) []E {
	x := make([]E, b.Len())
	if err := errors.Join(device.Download(s, x, b), s.Synchronize()); err != nil {
		require.NoError(t, err)
	}
	return x
}

func uploadBits(t T, s *device.Stream, b *device.Buffer, x reference.Plane) {
	switch b.DType() {
	case device.Float32:
		upload(t, s, b, reference.Elements[float32](x))
	case device.Float64:
		upload(t, s, b, reference.Elements[float64](x))
	case device.Int16:
		upload(t, s, b, reference.Elements[int16](x))
	case device.Int8:
		upload(t, s, b, reference.Elements[int8](x))
	default:
		upload(t, s, b, reference.Elements[uint16](x))
	}
}
