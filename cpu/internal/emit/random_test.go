package emit

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
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
		out = append(out, AVX512, AVX512Roots)
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
	varying  []bool
	uniforms []ir.Value
	code     *Code
	loaded   *exec.Code
	frame    []byte
	results  []float64 // of fills
	infinity []uint32  // of a field that has a number's bits: those of infinity, behind which are NaNs, of which one is as good as another
	matrix   *Matrix   // nil: a run has one row
}

// behindFrame is a byte that no loop may write.
const behindFrame = 0xA5

// mostElements is the most that a run has, and those before it.
const mostElements = 4200

// newTrial compiles a graph, of which some fields are fills. By rows, scalars are uniforms, but nothing else is: they are a row's numbers, and of the planes
// some are columns'.
func newTrial[F float32 | float64](f *ir.Func, fills []Fill, rows bool, set *Set, near, far int, mutate func(*x86.Ins)) (*trial[F], error) {
	r := &trial[F]{f: f, fills: fills, varying: f.Varying(elements), infinity: make([]uint32, len(f.Vars))}
	if rows {
		r.varying = f.Varying(elements, scalars)
		for i, n := range f.Nodes {
			if n.Op == ir.Var && f.Vars[n.Index].Bank == scalars {
				r.varying[i] = false
			}
		}
	}
	r.uniforms = f.Given(r.varying)
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
	l := Loop{Func: f, Planes: r.planes, Fills: fills, Uniforms: r.uniforms, Varying: r.varying, Set: set, Near: near, Far: far}
	if near != 0 && far != 0 {
		l.Next = []Next{{8, false}, {1, true}, {2, true}, {4, false}}
	}
	if rows {
		r.matrix = &Matrix{}
		for _, v := range r.planes {
			if !slices.ContainsFunc(f.Stores, func(s ir.Store) bool { return s.Var == v }) && v%2 == 0 {
				r.matrix.Columns = append(r.matrix.Columns, v)
			}
		}
		for _, u := range r.uniforms {
			if n := &f.Nodes[u]; n.Op == ir.Var && f.Vars[n.Index].Type == ir.Float {
				r.matrix.Numbers = append(r.matrix.Numbers, u)
			}
		}
		l.Matrix = r.matrix
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

// run runs the code on n elements of anything, or on some rows of them, and returns what differs from the evaluator.
func (r *trial[F]) run(rng *rand.Rand, n int) error {
	some := r.some
	switch {
	case len(r.fills) > 0:
		some = r.someTerms(rng)
	case rng.IntN(4) == 0: // numbers that have roots
		some = func(rng *rand.Rand, v int) field[F] {
			x := r.some(rng, v)
			if r.f.Vars[v].Type == ir.Float {
				x.number = F(math.Exp2(float64(rng.IntN(80)-40)) * (1 + rng.Float64()))
			}
			return x
		}
	}
	if r.matrix != nil {
		n = max(n, 1)
	}
	rows, step := 1, n
	if r.matrix != nil && n <= mostElements/8 {
		rows, step = 1+rng.IntN(3), n+rng.IntN(3)
	}
	all := (rows-1)*step + n
	vars := make([]field[F], len(r.f.Vars))
	for i := range vars {
		vars[i] = some(rng, i)
	}
	index := someIndex(rng)
	memory, want := make([][]byte, len(r.planes)), make([][]field[F], len(r.planes))
	pointers := make([]*byte, len(r.planes)+len(r.fills)+len(r.uniforms)+5) // nil behind the planes': what is prefetched need not be there
	const before = 4
	for i, v := range r.planes {
		size, count := r.f.Vars[v].Type.Size(r.f.Width), all
		if r.isColumn(v) {
			count = n
		}
		memory[i] = guarded(i, (before+count)*size)
		for k := range before + count {
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
	columns := make([][]float64, len(r.fills))
	had := make([][]float64, len(r.fills)) // what they should have
	next := len(r.planes)
	point := func(p unsafe.Pointer) {
		pointers[next] = (*byte)(p)
		next++
	}
	for i, fill := range r.fills {
		if fill.Columns {
			memory := guarded(mostPlanes+1+i, (before+n+Beyond)*doubles)
			columns[i] = unsafe.Slice((*float64)(unsafe.Pointer(&memory[0])), before+n+Beyond)
			for k := range columns[i] {
				columns[i][k] = someNumber[float64](rng)
			}
			had[i] = append([]float64(nil), columns[i]...)
			point(unsafe.Pointer(&columns[i][before]))
		}
	}
	var numbers [][]F // of each row
	results, wanted := make([][]float64, len(r.fills)), make([][]float64, len(r.fills))
	apart := 1 + rng.IntN(2)
	if r.matrix != nil {
		for _, u := range r.matrix.Numbers {
			x := make([]F, rows)
			for k := range x {
				x[k] = some(rng, r.f.Nodes[u].Index).number
			}
			numbers = append(numbers, x)
			point(unsafe.Pointer(&x[0]))
		}
		for i, fill := range r.fills {
			if !fill.Columns {
				results[i] = make([]float64, rows*apart)
				point(unsafe.Pointer(&results[i][0]))
			}
		}
		for i, x := range []int{rows, step, apart * doubles} {
			binary.LittleEndian.PutUint64(r.frame[r.code.Rows+8*i:], uint64(x))
		}
	}
	for row := range rows {
		lanes := newLanes(r.fills)
		for i, x := range numbers {
			vars[r.f.Nodes[r.matrix.Numbers[i]].Index].number = x[row]
		}
		for k := range n {
			copy(element, vars)
			of := func(v int) int {
				if r.isColumn(v) {
					return before + k
				}
				return before + row*step + k
			}
			for i, v := range r.planes {
				element[v] = want[i][of(v)]
			}
			eval.Index = index + uint64(row*step+k)
			r.eval(eval, element)
			for i, fill := range r.fills {
				if x := float64(element[fill.Var].number); fill.Columns {
					join(fill.Kind, &had[i][before+k], term(fill.Kind, x))
				} else {
					lanes[i].add(fill.Kind, k, x)
				}
			}
			for i, v := range r.planes {
				want[i][of(v)] = element[v]
			}
		}
		for i, fill := range r.fills {
			if !fill.Columns {
				wanted[i] = append(wanted[i], lanes[i].halve(fill.Kind))
			}
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
		if fill.Columns {
			for k, x := range had[i][:before+n] {
				if y := columns[i][k]; !(x != x && y != y || math.Float64bits(x) == math.Float64bits(y)) {
					return fmt.Errorf("%d elements, %d rows: column %d of fill %d, %v, is %v, want %v", n, rows, k-before, i, fill, y, x)
				}
				r.results = append(r.results, x)
			}
			continue
		}
		for row, x := range wanted[i] {
			y := *(*float64)(unsafe.Pointer(&r.frame[r.code.Lanes+i*lanesSize]))
			if r.matrix != nil {
				y = results[i][row*apart]
			}
			if !(x != x && y != y || math.Float64bits(x) == math.Float64bits(y)) {
				return fmt.Errorf("%d elements: row %d of %d of fill %d, %v, is %v, want %v", n, row, rows, i, fill, y, x)
			}
			r.results = append(r.results, x)
		}
	}
	for i, v := range r.planes {
		for k, x := range want[i] {
			if y := r.access(memory[i], v, k, nil); !r.same(v, x, y) {
				return fmt.Errorf("%d rows of %d elements from %#x: %s[%d] is %v, %#x, the graph makes it %v, %#x", rows, n, index, r.f.Vars[v].Name, k-before,
					y.number, y.word, x.number, x.word)
			}
		}
	}
	return nil
}

// isColumn says whether a field begins anew with each row.
func (r *trial[F]) isColumn(v int) bool {
	return r.matrix != nil && slices.Contains(r.matrix.Columns, v)
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
	r, err := newTrial[F](f, nil, rng.IntN(4) == 0, set, 768*rng.IntN(2), 3072*rng.IntN(2), mutate)
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
