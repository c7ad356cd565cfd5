package emit

import (
	"encoding/binary"
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
	if cpu.X86.HasAVX2 && cpu.X86.HasF16C && cpu.X86.HasFMA {
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

// trial is a graph as code, in all that its runs share.
type trial[F float32 | float64] struct {
	f        *ir.Func
	planes   []int
	fills    []Fill
	uniforms []ir.Value
	code     *Code
	loaded   *exec.Code
	frame    []byte
	results  []float64 // of fills
	infinity []uint32  // of a field that has a number's bits: those of infinity, behind which are NaNs, of which one is as good as another
}

// behindFrame is a byte that no loop may write.
const behindFrame = 0xA5

// mostElements is the most that a run has, and those before it.
const mostElements = 4200

// newTrial compiles a graph, of which some fields are fills.
func newTrial[F float32 | float64](f *ir.Func, fills []Fill, set *Set, near, far int, mutate func(*x86.Ins)) (*trial[F], error) {
	r := &trial[F]{f: f, fills: fills, uniforms: f.Uniforms(elements), infinity: make([]uint32, len(f.Vars))}
	used := map[int]bool{}
	for _, v := range f.Loads() {
		used[v] = f.Vars[v].Bank == elements
	}
	for _, s := range f.Stores {
		used[s.Var] = true
		switch node, t := &f.Nodes[s.Value], f.Vars[s.Var].Type; {
		case t == ir.U32 && (node.Op == ir.ToBits || node.Op == ir.Select):
			r.infinity[s.Var] = 0x7f800000
		case t == ir.U16 && node.Op == ir.ToHalf:
			r.infinity[s.Var] = 0x7c00
		case t == ir.U16 && node.Op == ir.WShr && node.Index == 16 && f.Nodes[node.A].Op == ir.Select:
			r.infinity[s.Var] = 0x7f80
		}
	}
	for _, fill := range fills {
		used[fill.Var] = false
	}
	for v := range f.Vars {
		if used[v] {
			r.planes = append(r.planes, v)
		}
	}
	var err error
	l := Loop{Func: f, Planes: r.planes, Fills: fills, Uniforms: r.uniforms, Varying: f.Varying(elements), Set: set, Near: near, Far: far}
	if near != 0 && far != 0 {
		l.Next = []int{8, 1, 2, 4}
	}
	r.code, err = compile(l, mutate)
	if err != nil {
		return nil, err
	}
	memory := make([]byte, r.code.Frame+64)
	for uintptr(unsafe.Pointer(&memory[0]))%64 != 0 {
		memory = memory[1:]
	}
	r.frame = memory[:r.code.Frame+1]
	FillFrame(r.frame)
	r.frame[r.code.Frame] = behindFrame
	r.loaded, err = exec.New(r.code.Text)
	return r, err
}

// field is what a field holds: a number or a word.
type field[F float32 | float64] struct {
	number F
	word   uint32
}

// some is any contents of a field.
func (r *trial[F]) some(rng *rand.Rand, v int) (x field[F]) {
	if t := r.f.Vars[v].Type; t == ir.Float {
		x.number = someNumber[F](rng)
	} else {
		x.word = someWord(rng) & (math.MaxUint32 >> (32 - 8*t.Size(r.f.Width)))
	}
	return x
}

// access reads an element of a field's memory, or writes it.
func (r *trial[F]) access(memory []byte, v, k int, write *field[F]) (x field[F]) {
	t := r.f.Vars[v].Type
	p := unsafe.Pointer(&memory[k*t.Size(r.f.Width)])
	if write == nil {
		switch t {
		case ir.Float:
			x.number = *(*F)(p)
		case ir.U32:
			x.word = *(*uint32)(p)
		case ir.U16:
			x.word = uint32(*(*uint16)(p))
		case ir.U8:
			x.word = uint32(*(*uint8)(p))
		}
		return x
	}
	switch t {
	case ir.Float:
		*(*F)(p) = write.number
	case ir.U32:
		*(*uint32)(p) = write.word
	case ir.U16:
		*(*uint16)(p) = uint16(write.word)
	case ir.U8:
		*(*uint8)(p) = uint8(write.word)
	}
	return *write
}

// same says whether a field has what the evaluator gives it.
func (r *trial[F]) same(v int, x, y field[F]) bool {
	if a, b := x.number, y.number; !(a != a && b != b || a == b && math.Signbit(float64(a)) == math.Signbit(float64(b))) {
		return false
	}
	sign := uint32(1) << (8*r.f.Vars[v].Type.Size(r.f.Width) - 1)
	if inf := r.infinity[v]; inf != 0 && x.word&^sign > inf && y.word&^sign > inf {
		return true
	}
	return x.word == y.word
}

// block is the uniforms for some scalars.
func (r *trial[F]) block(vars []field[F]) []F {
	eval := ir.NewEvaluator[F](r.f)
	r.eval(eval, vars)
	var out []F
	for _, bits := range HeadBits {
		out = append(out, all[F](bits))
	}
	for _, u := range r.uniforms {
		out = append(out, InBlock(eval, r.f, u))
	}
	return out
}

// all is the number whose bits are the highest of x.
func all[F float32 | float64](x uint64) F {
	var f F
	if p, ok := any(&f).(*float32); ok {
		*p = math.Float32frombits(uint32(x >> 32))
	} else {
		*any(&f).(*float64) = math.Float64frombits(x)
	}
	return f
}

// eval runs the evaluator on fields, which it changes.
func (r *trial[F]) eval(e *ir.Evaluator[F], fields []field[F]) {
	vars := make([]F, len(fields))
	for i, x := range fields {
		vars[i], e.Words[i] = x.number, x.word
	}
	e.Run(vars)
	for i := range fields {
		fields[i] = field[F]{vars[i], e.Words[i]}
	}
}

// run runs the code on n elements of anything, and returns what differs from the evaluator.
func (r *trial[F]) run(rng *rand.Rand, n int) error {
	some := r.some
	if len(r.fills) > 0 {
		some = r.someTerms(rng)
	}
	vars := make([]field[F], len(r.f.Vars))
	for i := range vars {
		vars[i] = some(rng, i)
	}
	index := someIndex(rng)
	memory, want := make([][]byte, len(r.planes)), make([][]field[F], len(r.planes))
	pointers := make([]*byte, len(r.planes)+5) // nil behind the planes': what is prefetched need not be there
	const before = 4
	for i, v := range r.planes {
		size := r.f.Vars[v].Type.Size(r.f.Width)
		memory[i] = guarded(i, (before+n)*size)
		for k := range before + n {
			x := some(rng, v)
			want[i] = append(want[i], r.access(memory[i], v, k, &x))
		}
		pointers[i] = (*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(memory[i])), before*size))
	}
	uniforms := r.block(append([]field[F](nil), vars...))
	block := guarded(mostPlanes, len(uniforms)*r.f.Width/8)
	copy(unsafe.Slice((*F)(unsafe.Pointer(&block[0])), len(uniforms)), uniforms)
	eval := ir.NewEvaluator[F](r.f)
	element := make([]field[F], len(vars))
	lanes := newLanes(r.fills)
	for k := range n {
		copy(element, vars)
		for i, v := range r.planes {
			element[v] = want[i][before+k]
		}
		eval.Index = index + uint64(k)
		r.eval(eval, element)
		for i, fill := range r.fills {
			lanes[i].add(fill.Kind, k, float64(element[fill.Var].number))
		}
		for i, v := range r.planes {
			want[i][before+k] = element[v]
		}
	}
	if r.code.Index >= 0 {
		binary.LittleEndian.PutUint64(r.frame[r.code.Index:], index)
	}
	r.loaded.Run(&pointers[0], &block[0], &r.frame[0], n)
	if r.frame[r.code.Frame] != behindFrame {
		return fmt.Errorf("%d elements: the byte behind the frame is %#x", n, r.frame[r.code.Frame])
	}
	for i, fill := range r.fills {
		x, y := lanes[i].halve(fill.Kind), *(*float64)(unsafe.Pointer(&r.frame[r.code.Lanes+i*lanesSize]))
		if !(x != x && y != y || math.Float64bits(x) == math.Float64bits(y)) {
			return fmt.Errorf("%d elements: fill %d, %v, is %v, want %v", n, i, fill, y, x)
		}
		r.results = append(r.results, x)
	}
	for i, v := range r.planes {
		for k, x := range want[i] {
			if y := r.access(memory[i], v, k, nil); !r.same(v, x, y) {
				return fmt.Errorf("%d elements from %#x: %s[%d] is %v, %#x, the graph makes it %v, %#x", n, index, r.f.Vars[v].Name, k-before,
					y.number, y.word, x.number, x.word)
			}
		}
	}
	return nil
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
	r, err := newTrial[F](f, nil, set, 768*rng.IntN(2), 3072*rng.IntN(2), mutate)
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

var beyondAVX2 = regexp.MustCompile(`(?m)^ *\d+  62|zmm|\bk[0-7]\b|[xy]mm(1[6-9]|2\d|3\d)`)

// TestNarrow looks for AVX-512 in AVX2's loops, which this machine may run all the same.
func TestNarrow(t *testing.T) {
	for seed := range uint64(200) {
		f := random(rand.New(rand.NewPCG(seed, 1)), 32+32*int(seed%2))
		var planes []int
		for v, field := range f.Vars {
			if field.Bank == elements {
				planes = append(planes, v)
			}
		}
		code, err := Compile(Loop{Func: f, Planes: planes, Uniforms: f.Uniforms(elements), Varying: f.Varying(elements), Set: AVX2})
		require.NoError(t, err)
		text, err := code.Listing()
		require.NoError(t, err)
		require.Empty(t, beyondAVX2.FindString(text), "seed %d", seed)
		require.Contains(t, text, "ymm")
	}
}
