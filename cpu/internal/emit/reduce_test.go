package emit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// sumOf is a random graph of width 64 which has a term: the first number that the graph stores, in a field behind all others. It
// is nil where there is none, or where the graph needs the element's index.
func sumOf(rng *rand.Rand) (f *ir.Func, sum int) {
	f = random(rng, 64)
	if slices.ContainsFunc(f.Nodes, func(n ir.Node) bool { return n.Op == ir.Element }) {
		return nil, 0
	}
	sum = len(f.Vars)
	for i, s := range f.Stores {
		if f.Kind(s.Value) == ir.Number {
			f.Vars = append(f.Vars, ir.Field{Bank: elements, Index: sum, Name: "sum"})
			f.Stores = append(slices.Delete(f.Stores, i, i+1), ir.Store{Var: sum, Value: s.Value})
			return f, sum
		}
	}
	return nil, 0
}

// trySum holds the sum of a random graph, and what else it stores, to the evaluator.
func trySum(seed uint64, set *Set, mutate func(*x86.Ins), sums func(x float64)) error {
	rng := rand.New(rand.NewPCG(seed, 2))
	f, sum := sumOf(rng)
	if f == nil {
		return nil
	}
	r := &trial[float64]{f: f, uniforms: f.Uniforms(elements), infinity: make([]uint32, len(f.Vars))}
	used := map[int]bool{}
	for _, v := range f.Loads() {
		used[v] = f.Vars[v].Bank == elements
	}
	for _, s := range f.Stores {
		used[s.Var] = s.Var != sum
	}
	for v := range f.Vars {
		if used[v] {
			r.planes = append(r.planes, v)
		}
	}
	loop := Loop{Func: f, Planes: r.planes, Uniforms: r.uniforms, Varying: f.Varying(elements), Set: set, Near: 768 * rng.IntN(2), Far: 3072 * rng.IntN(2)}
	code, err := Reduce{loop, sum}.compile(mutate)
	if err != nil {
		return err
	}
	if r.loaded, err = exec.New(code.Text); err != nil {
		return err
	}
	frame := make([]byte, code.Frame+65)
	for uintptr(unsafe.Pointer(&frame[0]))%64 != 0 {
		frame = frame[1:]
	}
	frame = frame[:code.Frame+1]
	FillFrame(frame)
	frame[code.Frame] = behindFrame
	for _, n := range []int{rng.IntN(131), Lanes + rng.IntN(385)} {
		want, err := r.sum(rng, n, sum, frame)
		if err != nil {
			text, _ := code.Listing()
			return fmt.Errorf("%d elements: %w\n%s", n, err, text)
		}
		sums(want)
	}
	if frame[code.Frame] != behindFrame {
		return fmt.Errorf("the byte behind the frame is %#x", frame[code.Frame])
	}
	return nil
}

// sum runs the code on n elements, and returns the sum that the evaluator finds, or what differs from it.
func (r *trial[F]) sum(rng *rand.Rand, n, sum int, frame []byte) (want F, err error) {
	some := r.some // most sums of those are NaN
	if rng.IntN(4) > 0 {
		some = func(rng *rand.Rand, v int) field[F] {
			if r.f.Vars[v].Type == ir.Float {
				return field[F]{number: F(1 + rng.Float64())}
			}
			return field[F]{word: uint32(rng.IntN(255))}
		}
	}
	vars := make([]field[F], len(r.f.Vars))
	for i := range vars {
		vars[i] = some(rng, i)
	}
	var lanes, by [Lanes]F
	for i := range lanes {
		lanes[i] = 7 // of the run before
	}
	pointers := []*byte{(*byte)(unsafe.Pointer(&lanes))}
	memory, expected := make([][]byte, len(r.planes)), make([][]field[F], len(r.planes))
	for i, v := range r.planes {
		memory[i] = guarded(i, n*r.f.Vars[v].Type.Size(r.f.Width))
		for k := range n {
			x := some(rng, v)
			expected[i] = append(expected[i], r.access(memory[i], v, k, &x))
		}
		pointers = append(pointers, unsafe.SliceData(memory[i]))
	}
	block := r.block(slices.Clone(vars))
	eval := ir.NewEvaluator[F](r.f)
	element := make([]field[F], len(vars))
	for k := range n {
		copy(element, vars)
		for i, v := range r.planes {
			element[v] = expected[i][k]
		}
		r.eval(eval, element)
		for i, v := range r.planes {
			expected[i][k] = element[v]
		}
		by[k%len(by)] += element[sum].number
	}
	for apart := len(by) / 2; apart > 0; apart /= 2 {
		for l := range apart {
			by[l] += by[l+apart]
		}
	}
	r.loaded.Run(&pointers[0], (*byte)(unsafe.Pointer(&block[0])), &frame[0], n)
	if !r.same(sum, field[F]{number: by[0]}, field[F]{number: lanes[0]}) {
		return by[0], fmt.Errorf("the sum is %v, want %v", lanes[0], by[0])
	}
	for i, v := range r.planes {
		for k, x := range expected[i] {
			if y := r.access(memory[i], v, k, nil); !r.same(v, x, y) {
				return by[0], fmt.Errorf("%s[%d] is %v, the graph makes it %v", r.f.Vars[v].Name, k, y, x)
			}
		}
	}
	return by[0], nil
}

// TestSums holds sums of random terms to the evaluator.
func TestSums(t *testing.T) {
	n := uint64(2000)
	if testing.Short() {
		n = 200
	}
	for _, set := range sets(t) {
		t.Run(set.String(), func(t *testing.T) {
			finite, all := 0, 0
			for seed := range n {
				require.NoError(t, trySum(seed, set, nil, func(x float64) {
					all++
					if x-x == 0 {
						finite++
					}
				}), "seed %d", seed)
			}
			require.Greater(t, finite, all/3, "of %d sums", all)
		})
	}
}
