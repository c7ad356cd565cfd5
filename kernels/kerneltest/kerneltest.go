// Package kerneltest holds a kernels.Backend to the rules: whatever a backend runs them with, the bits are those of the SSA
// evaluator, for all options, element types, lengths, alignments and numbers, and no byte beside the tensors changes.
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
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// T is who is told of a failure: a *testing.T, or who counts how a backend that is wrong on purpose fails.
type T interface {
	require.TestingT
	Fatalf(format string, args ...any)
}

// lengths of tensors beside all up to 130: around a warp, a cache line, a tile, a GPU's chunk.
var lengths = []int{0, 1, 31, 32, 33, 127, 1023, 4097, 16<<10 + 5}

const (
	long   = 1<<20 + 7 // many chunks; once a rule, and not with -short
	guard  = 64        // elements on both sides of a tensor
	steps  = 3
	groups = 300 // more than one block of a GPU's prologue
)

// Programs are what Run tries of a rule for elements of a type: every set of options, and with penalties the first and the last set.
func Programs(r *rule.Rule, t device.DType) (out []kernels.Program) {
	all := uint64(1)<<len(r.Options) - 1
	for set := range all + 1 {
		out = append(out, kernels.Program{Rule: r, Options: set, DType: t})
	}
	return append(out, kernels.Program{Rule: r, Penalties: rule.L1, DType: t}, kernels.Program{Rule: r, Penalties: rule.L2, DType: t},
		kernels.Program{Rule: r, Options: all, Penalties: rule.AllPenalties, DType: t})
}

// Run tries the rules and that of Names, with all sets of options and the penalties, the norm and the traffic. With -short the rule of
// Names has all its options or none. Open returns a device, which the suite closes; backends whose results could depend on how many threads they have, or in which order, should be run once for each.
func Run(t *testing.T, rules []*rule.Rule, open func(t *testing.T) kernels.Backend) {
	names := Names(t)
	rules = append(slices.Clone(rules), names)
	for _, r := range rules {
		for _, dtype := range []device.DType{device.Float32, device.Float64} {
			for _, p := range Programs(r, dtype) {
				if r == names && testing.Short() && p.Options != 0 && p.Options != 1<<len(r.Options)-1 {
					continue // of names that are all taken, fewer are no news
				}
				t.Run(p.String(), func(t *testing.T) {
					b := open(t)
					defer b.Device().Close()
					n := lengths
					if p.Options == 1<<len(r.Options)-1 && p.Penalties == 0 && dtype == device.Float32 && !testing.Short() {
						n = append(append([]int(nil), n...), long)
					}
					runProgram(t, b, p, n, p.Penalties == 0)
				})
			}
		}
	}
	t.Run("norm", func(t *testing.T) { runNorm(t, open(t)) })
	t.Run("traffic", func(t *testing.T) { runTraffic(t, rules, open(t)) })
}

// Program tries one program, as Run does with -short those without penalties.
func Program(t T, b kernels.Backend, p kernels.Program) { runProgram(t, b, p, lengths, true) }

// runProgram tries a program: in full, or what penalties could make wrong, which change neither the prologue nor how a pass walks its
// tensors.
func runProgram(t T, b kernels.Backend, p kernels.Program, lengths []int, full bool) {
	if p.DType == device.Float32 {
		runTyped[float32](t, b, p, lengths, full)
	} else {
		runTyped[float64](t, b, p, lengths, full)
	}
}

// tensor is a tensor on the device and what it should be.
type tensor[F rule.Float] struct {
	shape
	group  int
	whole  []*device.Buffer // by slot, with guards
	slots  []*device.Buffer
	expect [][]F // by slot, with guards
}

func runTyped[F rule.Float](t T, b kernels.Backend, p kernels.Program, lengths []int, full bool) {
	rng := rand.New(rand.NewPCG(3, p.Options))
	r := p.Rule
	runClip[F](t, b, p)
	shapes := slices.Concat(pairs[F](r), straight(31, 127))
	if full {
		runEach[F](t, b, p, 1, 0.5)
		runEach[F](t, b, p, 0.5, 5.7)
		runOff[F](t, b, p)
		shapes = slices.Concat(pairs[F](r), straight(lengths...), short(), apart(slots(t, p)))
	}
	w, state, tensors := work[F](t, b, p, shapes, groups, rng)
	u, err := b.Compile(w)
	require.NoError(t, err)
	want := make([][]float64, groups)
	for g := range want {
		want[g] = r.InitialState()
	}
	s := b.Device().DefaultStream()
	for k := range steps {
		var in kernels.Step
		for g := range groups {
			hyper := func() float64 {
				if g == 0 && k == 0 {
					return 0.5 // exact, which brings what is twice a limit to the limit
				}
				return 0.05 + 0.9*rng.Float64()
			}
			// L1 is 1 first, so that what it is multiplied by can be seen exactly.
			step := kernels.GroupStep{Scale: []float64{1, -1, 0.75}[g%3], L1: 2 * hyper(), WeightDecay: hyper()}
			if g%2 == 1 {
				step.DecoupledDecay = hyper()
			}
			for range r.Hyper {
				step.Hyper = append(step.Hyper, hyper())
			}
			in.Groups = append(in.Groups, step)
		}
		require.NoError(t, u.Enqueue(s, in))
		for g := range want {
			expectStep(t, p, in.Groups[g], nil, 0, want[g], tensors, g)
		}
		require.Equal(t, slices.Concat(want...), download[float64](t, s, state), "step %d: prologue's state", k)
		compare(t, s, p, tensors, fmt.Sprintf("step %d", k))
	}
	require.NoError(t, u.Close())
}

// work makes tensors on any numbers, in three of the groups; those of pairs are in the first.
func work[F rule.Float](t T, b kernels.Backend, p kernels.Program, shapes []shape, groups int, rng *rand.Rand) (w kernels.Work, state *device.Buffer, tensors []*tensor[F]) {
	dev := b.Device()
	s := dev.DefaultStream()
	w = kernels.Work{Program: p}
	used := slots(t, p)
	for _, shape := range shapes {
		x := &tensor[F]{shape: shape, group: []int{groups - 1, 0, groups / 2}[len(tensors)%3],
			whole: make([]*device.Buffer, len(p.Rule.Slots)), slots: make([]*device.Buffer, len(p.Rule.Slots)), expect: make([][]F, len(p.Rule.Slots))}
		if x.pairs {
			x.group = 0
		}
		for _, k := range used {
			x.expect[k] = numbers[F](rng, 2*guard+4+x.n)
			if x.pairs {
				fillPairs(rng, p.Rule, k, x.expect[k][x.first(k):][:x.n])
			}
			var err error
			x.whole[k], err = dev.Alloc(p.DType, len(x.expect[k]))
			require.NoError(t, err)
			upload(t, s, x.whole[k], x.expect[k])
			x.slots[k], err = x.whole[k].Slice(x.first(k), x.first(k)+x.n)
			require.NoError(t, err)
		}
		tensors = append(tensors, x)
		w.Tensors = append(w.Tensors, kernels.Tensor{Group: x.group, Slots: x.slots})
	}
	words := len(p.Rule.State)
	state, err := dev.Alloc(device.Float64, groups*words)
	require.NoError(t, err)
	upload(t, s, state, slices.Repeat(p.Rule.InitialState(), groups))
	for g := range groups {
		of, err := state.Slice(g*words, (g+1)*words)
		require.NoError(t, err)
		w.State = append(w.State, of)
	}
	return w, state, tensors
}

// slots are those that the program uses, in order.
func slots(t T, p kernels.Program) []int {
	used, err := p.Used()
	require.NoError(t, err)
	return used
}

// expectStep runs the graph on the expected values of a group.
func expectStep[F rule.Float](t T, p kernels.Program, step kernels.GroupStep, norm *float64, maxNorm float64, state []float64, tensors []*tensor[F], group int) {
	r, hyper := p.Rule, step.Hyper
	pro, err := r.Prologue(p.Options)
	require.NoError(t, err)
	vars := make([]float64, len(pro.Vars))
	copy(vars, hyper)
	copy(vars[len(hyper):], state)
	ir.Eval(pro, vars)
	copy(state, vars[len(hyper):])
	if !slices.ContainsFunc(tensors, func(x *tensor[F]) bool { return x.group == group }) {
		return
	}
	f, err := p.Graph()
	require.NoError(t, err)
	elem := make([][]F, len(f.Vars))
	for i, x := range vars[len(hyper)+len(state):] {
		elem[len(r.Slots)+i] = []F{F(x)}
	}
	shared := rule.Round[F](step.Shared(r, norm, maxNorm))
	for i, x := range shared.Numbers() {
		elem[len(elem)-kernels.SharedScalars+i] = []F{x}
	}
	eval := ir.NewEvaluator[F](f)
	for _, x := range tensors {
		if x.group != group {
			continue
		}
		for k, whole := range x.expect {
			if whole != nil {
				elem[k] = whole[x.first(k):][:x.n]
			}
		}
		eval.RunEach(x.n, elem, nil)
	}
}

// compare holds whole buffers, guards included, to what is expected. NaN is NaN, whatever its payload.
func compare[F rule.Float](t T, s *device.Stream, p kernels.Program, tensors []*tensor[F], when string) {
	for i, x := range tensors {
		for k, want := range x.expect {
			if want == nil {
				continue
			}
			got := download[F](t, s, x.whole[k])
			for j := range got {
				if !same(got[j], want[j]) {
					t.Fatalf("%s: tensor %d of %s: %s[%d] is %v (%#x), want %v (%#x)", when, i, x.shape,
						p.Rule.Slots[k], j-x.first(k), got[j], bits(got[j]), want[j], bits(want[j]))
				}
			}
		}
	}
}

func same[F rule.Float](a, b F) bool { return bits(a) == bits(b) || a != a && b != b }

func bits[F rule.Float](x F) uint64 {
	if v, ok := any(x).(float32); ok {
		return uint64(math.Float32bits(v))
	}
	return math.Float64bits(float64(x))
}

func upload[F rule.Float](t T, s *device.Stream, b *device.Buffer, x []F) {
	require.NoError(t, device.Upload(s, b, x))
	require.NoError(t, s.Synchronize())
}

func download[F rule.Float](t T, s *device.Stream, b *device.Buffer) []F {
	x := make([]F, b.Len())
	require.NoError(t, device.Download(s, x, b))
	require.NoError(t, s.Synchronize())
	return x
}
