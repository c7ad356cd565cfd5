// Package kerneltest holds a kernels.Backend to the rules: whatever a backend runs them with, the bits are those of the SSA
// evaluator, for all options, element types, lengths, alignments and numbers, and no byte beside the tensors changes.
package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// Rules are the rules that the suite tries, with all sets of options.
func Rules() []*rule.Rule {
	return []*rule.Rule{kernels.SGDRule().Rule, kernels.AdamRule().Rule}
}

// lengths of tensors: around a vector, a warp, a cache line, a tile, a chunk.
var lengths = []int{0, 1, 31, 32, 33, 127, 1023, 4097}

const (
	long  = 1<<20 + 7 // many chunks; once a rule, and not with -short
	guard = 64        // elements on both sides of a tensor
	steps = 3
)

// Run tries everything. Open returns a device, which the suite closes; backends whose results could depend on how many threads
// they have, or in which order, should be run once for each.
func Run(t *testing.T, open func(t *testing.T) kernels.Backend) {
	for _, r := range Rules() {
		for set := range uint64(1) << len(r.Options) {
			for _, dtype := range []device.DType{device.Float32, device.Float64} {
				p := kernels.Program{Rule: r, Options: set, DType: dtype}
				t.Run(p.String(), func(t *testing.T) {
					b := open(t)
					defer b.Device().Close()
					n := lengths
					if set == 1<<len(r.Options)-1 && dtype == device.Float32 && !testing.Short() {
						n = append(append([]int(nil), n...), long)
					}
					runProgram(t, b, p, n)
				})
			}
		}
	}
	t.Run("norm", func(t *testing.T) { runNorm(t, open(t)) })
	t.Run("traffic", func(t *testing.T) { runTraffic(t, open(t)) })
}

func runProgram(t *testing.T, b kernels.Backend, p kernels.Program, lengths []int) {
	if p.DType == device.Float32 {
		runTyped[float32](t, b, p, lengths)
	} else {
		runTyped[float64](t, b, p, lengths)
	}
}

// tensor is a tensor on the device and what it should be.
type tensor[F rule.Float] struct {
	group  int
	whole  []*device.Buffer // by slot, with guards
	slots  []*device.Buffer
	expect [][]F // by slot, with guards
	offset int   // of the tensor in the buffers
	n      int
}

func runTyped[F rule.Float](t *testing.T, b kernels.Backend, p kernels.Program, lengths []int) {
	rng := rand.New(rand.NewPCG(3, p.Options))
	w, tensors := work[F](t, b, p, lengths, 2, rng)
	u, err := b.Compile(w)
	require.NoError(t, err)
	r := p.Rule
	states := [][]float64{r.InitialState(), r.InitialState()}
	s := b.Device().DefaultStream()
	for k := range steps {
		in := kernels.Step{Scale: []float64{1, -1}}
		for range 2 * len(r.Hyper) {
			in.Hyper = append(in.Hyper, 0.05+0.9*rng.Float64())
		}
		require.NoError(t, u.Enqueue(s, in))
		for g, state := range states {
			expectStep(t, p, in.Hyper[g*len(r.Hyper):(g+1)*len(r.Hyper)], state, F(in.Scale[g]), tensors, g)
		}
		for g, state := range states {
			got := make([]float64, len(state))
			require.NoError(t, device.Download(s, got, w.State[g]))
			require.NoError(t, s.Synchronize())
			require.Equal(t, state, got, "step %d: group %d: prologue's state", k, g)
		}
		compare(t, s, p, tensors, fmt.Sprintf("step %d", k))
	}
	require.NoError(t, u.Close())
}

// work makes tensors of the lengths at offsets 0 to 3 from an aligned address, in alternating groups, on any numbers.
func work[F rule.Float](t *testing.T, b kernels.Backend, p kernels.Program, lengths []int, groups int, rng *rand.Rand) (kernels.Work, []*tensor[F]) {
	dev := b.Device()
	s := dev.DefaultStream()
	w := kernels.Work{Program: p}
	loads, stores, err := p.Slots()
	require.NoError(t, err)
	used := map[int]bool{}
	for _, k := range append(loads, stores...) {
		used[k] = true
	}
	var tensors []*tensor[F]
	for _, n := range lengths {
		for offset := range 4 {
			if n == long && offset != 1 {
				continue
			}
			x := &tensor[F]{group: len(tensors) % groups, offset: guard + offset, n: n,
				whole: make([]*device.Buffer, len(p.Rule.Slots)), slots: make([]*device.Buffer, len(p.Rule.Slots)), expect: make([][]F, len(p.Rule.Slots))}
			for k := range p.Rule.Slots {
				if !used[k] {
					continue
				}
				x.expect[k] = numbers[F](rng, 2*guard+4+n)
				x.whole[k], err = dev.Alloc(p.DType, len(x.expect[k]))
				require.NoError(t, err)
				upload(t, s, x.whole[k], x.expect[k])
				x.slots[k], err = x.whole[k].Slice(x.offset, x.offset+n)
				require.NoError(t, err)
			}
			tensors = append(tensors, x)
			w.Tensors = append(w.Tensors, kernels.Tensor{Group: x.group, Slots: x.slots})
		}
	}
	for range groups {
		state, err := dev.Alloc(device.Float64, len(p.Rule.State))
		require.NoError(t, err)
		require.NoError(t, device.Upload(s, state, p.Rule.InitialState()))
		require.NoError(t, s.Synchronize())
		w.State = append(w.State, state)
	}
	return w, tensors
}

// numbers are ordinary ones, any bit patterns and the values that code gets wrong.
func numbers[F rule.Float](rng *rand.Rand, n int) []F {
	tiny := rule.SmallestNormal[F]()
	special := []F{0, F(math.Copysign(0, -1)), 1, -1, tiny, -tiny, tiny / 2, -tiny / 4, F(math.Inf(1)), F(math.Inf(-1)), F(math.NaN()), 1e30, -1e-30}
	x := make([]F, n)
	for i := range x {
		switch rng.IntN(4) {
		case 0:
			x[i] = special[rng.IntN(len(special))]
		case 1:
			x[i] = F(math.Float64frombits(rng.Uint64()))
			if v, ok := any(x).([]float32); ok {
				v[i] = math.Float32frombits(rng.Uint32())
			}
		default:
			x[i] = F(rng.NormFloat64())
		}
	}
	return x
}

// expectStep runs the graph on the expected values of a group.
func expectStep[F rule.Float](t *testing.T, p kernels.Program, hyper, state []float64, scale F, tensors []*tensor[F], group int) {
	r := p.Rule
	f, err := p.Graph()
	require.NoError(t, err)
	pro, err := r.Prologue(p.Options)
	require.NoError(t, err)
	vars := make([]float64, len(pro.Vars))
	copy(vars, hyper)
	copy(vars[len(hyper):], state)
	ir.Eval(pro, vars)
	copy(state, vars[len(hyper):])
	elem := make([]F, len(f.Vars))
	for i, x := range vars[len(hyper)+len(state):] {
		elem[len(r.Slots)+i] = F(x)
	}
	elem[len(elem)-1] = scale
	eval := ir.NewEvaluator[F](f)
	for _, x := range tensors {
		if x.group != group {
			continue
		}
		for i := x.offset; i < x.offset+x.n; i++ {
			for k := range r.Slots {
				if x.expect[k] != nil {
					elem[k] = x.expect[k][i]
				}
			}
			eval.Run(elem)
			for _, st := range f.Stores {
				x.expect[st.Var][i] = elem[st.Var]
			}
		}
	}
}

// compare holds whole buffers, guards included, to what is expected. NaN is NaN, whatever its payload.
func compare[F rule.Float](t *testing.T, s *device.Stream, p kernels.Program, tensors []*tensor[F], when string) {
	for i, x := range tensors {
		for k, want := range x.expect {
			if want == nil {
				continue
			}
			got := download[F](t, s, x.whole[k])
			for j := range got {
				if !same(got[j], want[j]) {
					t.Fatalf("%s: tensor %d of %d elements at offset %d: %s[%d] is %v (%#x), want %v (%#x)", when, i, x.n, x.offset-guard,
						p.Rule.Slots[k], j-x.offset, got[j], bits(got[j]), want[j], bits(want[j]))
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

func upload[F rule.Float](t *testing.T, s *device.Stream, b *device.Buffer, x []F) {
	require.NoError(t, device.Upload(s, b, x))
	require.NoError(t, s.Synchronize())
}

func download[F rule.Float](t *testing.T, s *device.Stream, b *device.Buffer) []F {
	x := make([]F, b.Len())
	require.NoError(t, device.Download(s, x, b))
	require.NoError(t, s.Synchronize())
	return x
}
