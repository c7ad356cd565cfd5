package emit

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
)

// sumOf is a random graph of width 64 of which the first number that it stores is the term, in a field behind all others.
func sumOf(rng *rand.Rand) (f *ir.Func, sum int) {
	f = random(rng, 64)
	if len(f.Stores) == 0 {
		return nil, 0
	}
	sum = len(f.Vars)
	f.Vars = append(f.Vars, ir.Field{Bank: elements, Index: sum, Name: "sum"})
	stores := f.Stores[1:]
	f.Stores = append(stores[:len(stores):len(stores)], ir.Store{Var: sum, Value: f.Stores[0].Value})
	return f, sum
}

// trySum holds a random graph's sum, and what else it stores, to the evaluator.
func trySum(seed uint64, set *Set, mutate func(*x86.Ins), sums func(x float64)) error {
	rng := rand.New(rand.NewPCG(seed, 2))
	f, sum := sumOf(rng)
	if f == nil {
		return nil
	}
	var used []Slot
	for _, v := range f.Loads() {
		if f.Vars[v].Bank == elements {
			used = append(used, Slot{v, 8})
		}
	}
next:
	for _, s := range f.Stores {
		for _, u := range used {
			if u.Var == s.Var {
				continue next
			}
		}
		if s.Var != sum {
			used = append(used, Slot{s.Var, 8})
		}
	}
	r := &trial[float64]{f: f, uniforms: f.Uniforms(elements)}
	loop := Loop{Func: f, Slots: used, Uniforms: r.uniforms, Varying: f.Varying(elements), Set: set, Near: 768 * rng.IntN(2), Far: 3072 * rng.IntN(2)}
	code, err := Reduce{loop, sum}.compile(mutate)
	if err != nil {
		return err
	}
	loaded, err := exec.New(code.Text)
	if err != nil {
		return err
	}
	frame := make([]byte, code.Frame+64)
	for uintptr(unsafe.Pointer(&frame[0]))%64 != 0 {
		frame = frame[1:]
	}
	FillFrame(frame[:code.Frame])
	eval := ir.NewEvaluator[float64](f)
	for _, n := range []int{rng.IntN(131), 128 + rng.IntN(385)} {
		number := someNumber[float64] // most sums of those are NaN
		if rng.IntN(4) > 0 {
			number = func(rng *rand.Rand) float64 { return 1 + rng.Float64() }
		}
		vars := make([]float64, len(f.Vars))
		for i := range vars {
			vars[i] = number(rng)
		}
		block := r.block(vars)
		var lanes [kernels.NormLanes]float64
		for i := range lanes {
			lanes[i] = 7 // of the run before
		}
		pointers := []*byte{(*byte)(unsafe.Pointer(&lanes))}
		memory, want := make([][]float64, len(used)), make([][]float64, len(used))
		for i := range used {
			b := guarded(i, n*8)
			memory[i] = unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(b))), n)
			for k := range memory[i] {
				memory[i][k] = number(rng)
			}
			want[i] = append([]float64(nil), memory[i]...)
			pointers = append(pointers, unsafe.SliceData(b))
		}
		var by [kernels.NormLanes]float64
		element := make([]float64, len(vars))
		for k := range n {
			copy(element, vars)
			for i, s := range used {
				element[s.Var] = want[i][k]
			}
			eval.Run(element)
			for i, s := range used {
				want[i][k] = element[s.Var]
			}
			by[k%len(by)] += element[sum]
		}
		for apart := len(by) / 2; apart > 0; apart /= 2 {
			for l := range apart {
				by[l] += by[l+apart]
			}
		}
		sums(by[0])
		loaded.Run(&pointers[0], (*byte)(unsafe.Pointer(&block[0])), &frame[0], n)
		if !same(by[0], lanes[0]) {
			text, _ := code.Listing()
			return fmt.Errorf("%d elements: the sum is %v, want %v\n%s", n, lanes[0], by[0], text)
		}
		for i := range used {
			for k, x := range want[i] {
				if !same(x, memory[i][k]) {
					return fmt.Errorf("%d elements: %s[%d] is %v, the graph makes it %v", n, f.Vars[used[i].Var].Name, k, memory[i][k], x)
				}
			}
		}
	}
	return nil
}

// TestSums holds sums of random terms to the evaluator.
func TestSums(t *testing.T) {
	n := uint64(2000)
	if testing.Short() {
		n = 200
	}
	for _, set := range sets(t) {
		t.Run(set.String(), func(t *testing.T) {
			finite := uint64(0)
			for seed := range n {
				require.NoError(t, trySum(seed, set, nil, func(x float64) {
					if x-x == 0 {
						finite++
					}
				}), "seed %d", seed)
			}
			require.Greater(t, finite, n/2, "of twice as many sums")
		})
	}
}
