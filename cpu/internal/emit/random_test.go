package emit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"

	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// sets are the instruction sets that this machine has.
func sets(t testing.TB) (out []*Set) {
	if err := exec.Available(); err != nil {
		t.Skipf("NOTE: no machine code was run: %v", err)
	}
	if cpu.X86.HasAVX2 {
		out = append(out, AVX2)
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ {
		out = append(out, AVX512)
	}
	if len(out) < 2 {
		t.Logf("NOTE: ONLY %v HERE", out)
	}
	return out
}

// Banks of the fields of a random graph.
const (
	elements = iota
	scalars
)

// mostSlots is more than there are registers for.
const mostSlots = 14

// random is a graph of any operations, of the width.
func random(rng *rand.Rand, width int) *ir.Func {
	slots, given := 1+rng.IntN(mostSlots), rng.IntN(8)
	var fields []ir.Field
	for i := range slots {
		fields = append(fields, ir.Field{Bank: elements, Index: i, Name: fmt.Sprintf("e.S%d", i)})
	}
	for i := range given {
		fields = append(fields, ir.Field{Bank: scalars, Index: i, Name: fmt.Sprintf("s.U%d", i)})
	}
	b := ir.NewBuilder("random", width, fields)
	numbers, truths := []ir.Value{b.Const(0), b.Const(1.5)}, []ir.Value{b.Bool(true), b.Bool(false)}
	for i := range fields {
		numbers = append(numbers, b.Var(i))
	}
	number := func() ir.Value { return numbers[len(numbers)-1-min(rng.IntN(len(numbers)), rng.IntN(len(numbers)))] }
	truth := func() ir.Value { return truths[rng.IntN(len(truths))] }
	logic := rng.IntN(3) // how many of the operations are on truth values
	for range 1 + rng.IntN(70) {
		switch k := rng.IntN(12 + 4*logic); {
		case k < 4:
			numbers = append(numbers, b.Binary(ir.Add+ir.Op(k), number(), number()))
		case k < 7:
			numbers = append(numbers, b.Unary(ir.Sqrt+ir.Op(k-4), number()))
		case k < 9:
			numbers = append(numbers, b.Select(truth(), number(), number()))
		case k < 10+2*logic:
			truths = append(truths, b.Binary(ir.Lt+ir.Op(rng.IntN(4)), number(), number()))
		case k < 11+3*logic:
			truths = append(truths, b.Binary(ir.And+ir.Op(rng.IntN(2)), truth(), truth()))
		case rng.IntN(3) > 0:
			truths = append(truths, b.Select(truth(), truth(), truth()))
		default:
			truths = append(truths, b.Unary(ir.Not, truth()))
		}
	}
	// All truth values are still needed at the end of some graphs, and all numbers.
	sum, all := number(), rng.IntN(4)
	for _, c := range truths {
		if all&1 == 0 {
			sum = b.Select(c, sum, number())
		}
	}
	for i, x := range numbers {
		if all&2 == 0 {
			sum = b.Binary(ir.Add+ir.Op(i%2), x, sum)
		}
	}
	final := make([]ir.Value, len(fields))
	for i := range fields {
		final[i] = b.Var(i)
		if i < slots {
			switch rng.IntN(6) {
			case 0: // stays
			case 1:
				final[i] = b.Var(rng.IntN(slots)) // moves
			case 2:
				final[i] = sum
			default:
				final[i] = number()
			}
		}
	}
	return b.Func(final)
}

// someNumber is an ordinary number, one of few, or any bits.
func someNumber[F float32 | float64](rng *rand.Rand) F {
	switch rng.IntN(8) {
	case 0:
		few := []float64{0, math.Copysign(0, -1), 1, -1, 1.5, math.Inf(1), math.Inf(-1), math.NaN(), 0x1p-126, 0x1p-149, math.MaxFloat32}
		return F(few[rng.IntN(len(few))])
	case 1:
		var f F
		if p, ok := any(&f).(*float32); ok {
			*p = math.Float32frombits(rng.Uint32())
		} else {
			*any(&f).(*float64) = math.Float64frombits(rng.Uint64())
		}
		return f
	case 2:
		return F(rng.IntN(5) - 2)
	}
	return F(rng.NormFloat64())
}

// trial is a graph as code, in all that its runs share.
type trial[F float32 | float64] struct {
	f        *ir.Func
	slots    []Slot
	uniforms []ir.Value
	code     *Code
	loaded   *exec.Code
	frame    []byte
}

// newTrial compiles a graph.
func newTrial[F float32 | float64](f *ir.Func, set *Set, near, far int, mutate func(*x86.Ins)) (*trial[F], error) {
	r := &trial[F]{f: f, uniforms: f.Uniforms(elements)}
	used := map[int]bool{}
	for _, v := range f.Loads() {
		used[v] = f.Vars[v].Bank == elements
	}
	for _, s := range f.Stores {
		used[s.Var] = true
	}
	for v := range f.Vars {
		if used[v] {
			r.slots = append(r.slots, Slot{v, f.Width / 8})
		}
	}
	var err error
	r.code, err = compile(Loop{Func: f, Slots: r.slots, Uniforms: r.uniforms, Varying: f.Varying(elements), Set: set, Near: near, Far: far}, mutate)
	if err != nil {
		return nil, err
	}
	memory := make([]byte, r.code.Frame+64)
	for uintptr(unsafe.Pointer(&memory[0]))%64 != 0 {
		memory = memory[1:]
	}
	r.frame = memory[:r.code.Frame+1]
	FillFrame(r.frame)
	r.loaded, err = exec.New(r.code.Text)
	return r, err
}

// block is the uniforms for some scalars.
func (r *trial[F]) block(vars []F) []F {
	eval := ir.NewEvaluator[F](r.f)
	eval.Run(append([]F(nil), vars...))
	out := []F{bits[F](1 << 63), bits[F](1<<63 - 1), bits[F](math.MaxUint64)}
	for _, u := range r.uniforms {
		switch {
		case !r.f.IsBool(u):
			out = append(out, eval.Number(u))
		case eval.Condition(u):
			out = append(out, bits[F](math.MaxUint64))
		default:
			out = append(out, 0)
		}
	}
	return out
}

func bits[F float32 | float64](x uint64) F {
	var f F
	if p, ok := any(&f).(*float32); ok {
		*p = math.Float32frombits(uint32(x >> 32))
	} else {
		*any(&f).(*float64) = math.Float64frombits(x)
	}
	return f
}

// run runs the code on n elements of any numbers, and returns what differs from the evaluator.
func (r *trial[F]) run(rng *rand.Rand, n int) error {
	vars := make([]F, len(r.f.Vars))
	for i := range vars {
		vars[i] = someNumber[F](rng)
	}
	size := int(unsafe.Sizeof(F(0)))
	memory, want := make([][]F, len(r.slots)), make([][]F, len(r.slots))
	pointers := make([]*byte, len(r.slots)+1)
	const before = 4
	for i := range r.slots {
		b := guarded(i, (before+n)*size)
		memory[i] = unsafe.Slice((*F)(unsafe.Pointer(unsafe.SliceData(b))), before+n)
		for k := range memory[i] {
			memory[i][k] = someNumber[F](rng)
		}
		want[i] = append([]F(nil), memory[i]...)
		pointers[i] = (*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(memory[i])), before*size))
	}
	eval := ir.NewEvaluator[F](r.f)
	element := make([]F, len(vars))
	for k := range n {
		copy(element, vars)
		for i, s := range r.slots {
			element[s.Var] = want[i][before+k]
		}
		eval.Run(element)
		for i, s := range r.slots {
			want[i][before+k] = element[s.Var]
		}
	}
	block := r.block(vars)
	r.loaded.Run(&pointers[0], (*byte)(unsafe.Pointer(&block[0])), &r.frame[0], n)
	for i := range memory {
		for k, x := range want[i] {
			if y := memory[i][k]; !same(x, y) {
				return fmt.Errorf("%d elements: %s[%d] is %v, the graph makes it %v", n, r.f.Vars[r.slots[i].Var].Name, k-before, y, x)
			}
		}
	}
	return nil
}

func same[F float32 | float64](x, y F) bool {
	return x != x && y != y || x == y && math.Signbit(float64(x)) == math.Signbit(float64(y))
}

// try makes a graph of the seed and runs it on several lengths.
func try(seed uint64, set *Set, mutate func(*x86.Ins)) error {
	rng := rand.New(rand.NewPCG(seed, 0))
	if rng.IntN(2) == 0 {
		return tryWidth[float32](rng, set, mutate)
	}
	return tryWidth[float64](rng, set, mutate)
}

func tryWidth[F float32 | float64](rng *rand.Rand, set *Set, mutate func(*x86.Ins)) error {
	f := random(rng, int(8*unsafe.Sizeof(F(0))))
	if len(f.Stores) == 0 {
		return nil
	}
	r, err := newTrial[F](f, set, 768*rng.IntN(2), 3072*rng.IntN(2), mutate)
	if err != nil {
		return err
	}
	for range 3 {
		if err := r.run(rng, rng.IntN(131)); err != nil {
			text, _ := r.code.Listing()
			return fmt.Errorf("%w\n%s", err, text)
		}
	}
	return nil
}

// TestRandom holds random graphs to the evaluator.
func TestRandom(t *testing.T) {
	n := 4000
	if testing.Short() {
		n = 400
	}
	for _, set := range sets(t) {
		t.Run(set.String(), func(t *testing.T) {
			for seed := range uint64(n) {
				require.NoError(t, try(seed, set, nil), "seed %d", seed)
			}
		})
	}
}

func FuzzGraphs(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		for _, set := range sets(t) {
			if err := try(seed, set, nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}

var beyondAVX2 = regexp.MustCompile(`(?m)^ *\d+  62|zmm|\bk[0-7]\b|ymm(1[6-9]|2\d|3\d)`)

// TestNarrow looks for AVX-512 in AVX2's loops, which this machine may run all the same.
func TestNarrow(t *testing.T) {
	for seed := range uint64(200) {
		f := random(rand.New(rand.NewPCG(seed, 1)), 32)
		var slots []Slot
		for v, field := range f.Vars {
			if field.Bank == elements {
				slots = append(slots, Slot{v, 4})
			}
		}
		code, err := Compile(Loop{Func: f, Slots: slots, Uniforms: f.Uniforms(elements), Varying: f.Varying(elements), Set: AVX2})
		require.NoError(t, err)
		text, err := code.Listing()
		require.NoError(t, err)
		require.Empty(t, beyondAVX2.FindString(text), "seed %d", seed)
		require.Contains(t, text, "ymm")
	}
}
