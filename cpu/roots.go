package cpu

import (
	"math"
	"sync"
	"time"
	"unsafe"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/kernels/ir"
)

// worth is how much shorter a loop is to be for its roots to be estimated.
const worth = 0.95

// avx512Loops is the set of the processor's loops. How much its other units do while the divider makes a root and a quotient, all of it in the first-level
// cache, shows in some microseconds: the least of several times is that of a processor which nobody else had.
var avx512Loops = sync.OnceValue(func() *emit.Set {
	divided, estimated := newRoots(emit.AVX512), newRoots(emit.AVX512Roots)
	if divided == nil || estimated == nil || !estimated.right() {
		return emit.AVX512
	}
	const rounds = 16
	least := [2]time.Duration{math.MaxInt64, math.MaxInt64}
	for range rounds {
		for i, r := range []*roots{divided, estimated} {
			least[i] = min(least[i], r.time())
		}
	}
	const operations = emit.RootOperations / 2 // for a root or a quotient
	return emit.AVX512Roots.Within(operations * float64(least[0]) / float64(least[1]) * worth)
})

// roots is a loop that divides by roots, as most rules do: x becomes √x, and g is divided by that.
type roots struct {
	code  *exec.Code
	block [emit.Head]float32
	x, g  [1024]float32
}

// newRoots returns nil where there is no code.
func newRoots(set *emit.Set) *roots {
	const elements = 0
	b := ir.NewBuilder("roots", 32, []ir.Field{{Bank: elements, Name: "x"}, {Bank: elements, Index: 1, Name: "g"}})
	root := b.Unary(ir.Sqrt, b.Var(0))
	f := b.Func([]ir.Value{root, b.Binary(ir.Div, b.Var(1), root)})
	code, err := newCode(emit.Compile(emit.Loop{Func: f, Planes: []int{0, 1}, Varying: f.Varying(elements), Set: set}))
	if err != nil {
		return nil
	}
	r := &roots{code: code}
	for i, bits := range emit.HeadBits {
		r.block[i] = fromBits[float32](bits)
	}
	return r
}

func (r *roots) run() {
	planes := [2]*byte{(*byte)(unsafe.Pointer(&r.x)), (*byte)(unsafe.Pointer(&r.g))}
	r.code.Run(&planes[0], (*byte)(unsafe.Pointer(&r.block)), nil, len(r.x))
}

// right says whether the numbers come out right of which that depends on the processor: each exponent has a vector to itself.
func (r *roots) right() bool {
	for _, bits := range emit.HardRoots {
		for first := 0; first < 128; first += 64 {
			of := func(i int) float32 { return math.Float32frombits(bits - 126<<23 + uint32(min(first+i/16, 126))<<24) }
			for i := range r.x {
				r.x[i] = of(i)
			}
			r.run()
			for i, root := range r.x {
				if root != float32(math.Sqrt(float64(of(i)))) {
					return false
				}
			}
		}
	}
	return true
}

// time is what the loop takes.
func (r *roots) time() time.Duration {
	for i := range r.x {
		r.x[i], r.g[i] = 1+float32(i)/512, 1
	}
	began := time.Now()
	for range 4 {
		r.run()
	}
	return time.Since(began)
}
