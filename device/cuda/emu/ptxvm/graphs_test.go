package ptxvm

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/ptx"
	"github.com/fusestep/fusestep/kernels/rule"
)

// scalarCount is the scalars of the rule that a random graph seems to come from.
const scalarCount = 3

// A generator makes a random graph. Each list starts with constants.
type generator struct {
	*ir.Builder
	rng     *rand.Rand
	width   int
	numbers []ir.Value
	words   []ir.Value
	truths  []ir.Value
}

// randomGraph is a graph of any operations over planes of any types: some all of one size, some mixed.
func randomGraph(rng *rand.Rand) *ir.Func {
	width := []int{32, 32, 32, 64}[rng.IntN(4)]
	sets := [][]ir.Type{{ir.Float}, {ir.U16}, {ir.U8}, {ir.U32, ir.Float}, {ir.Float, ir.U16}, {ir.U16, ir.U8}, {ir.Float, ir.U32, ir.U16, ir.U8}}
	types := sets[rng.IntN(len(sets))]
	var fields []ir.Field
	elements := 1 + rng.IntN(5)
	for i := range elements {
		fields = append(fields, ir.Field{Bank: rule.ElemBank, Index: i, Name: fmt.Sprintf("e.S%d", i), Type: types[rng.IntN(len(types))]})
	}
	for i := range rng.IntN(scalarCount + 1) {
		fields = append(fields, ir.Field{Bank: rule.ScalarsBank, Index: i, Name: fmt.Sprintf("s.U%d", i), Type: []ir.Type{ir.Float, ir.Float, ir.U32}[rng.IntN(3)]})
	}
	for i := range rng.IntN(kernels.SharedScalars + 1) {
		fields = append(fields, ir.Field{Bank: rule.SharedBank, Index: i, Name: fmt.Sprintf("shared%d", i)})
	}
	g := &generator{Builder: ir.NewBuilder("random", width, fields), rng: rng, width: width}
	g.numbers = []ir.Value{g.Const(0), g.Const(1.5)}
	g.words = []ir.Value{g.Word(0), g.Word(rng.Uint32()), g.Word(0xffff)}
	g.truths = []ir.Value{g.Bool(true), g.Bool(false)}
	if rng.IntN(3) == 0 {
		g.words = append(g.words, g.Element(false), g.Element(true))
	}
	for i, f := range fields {
		if f.Type == ir.Float {
			g.numbers = append(g.numbers, g.Var(i))
		} else {
			g.words = append(g.words, g.Var(i))
		}
	}
	for range 3 + rng.IntN(40) {
		g.grow()
	}
	final := make([]ir.Value, len(fields))
	for i, f := range fields {
		final[i] = g.Var(i)
		switch {
		case f.Bank != rule.ElemBank || i > 0 && rng.IntN(5) == 0: // stays
		case f.Type == ir.Float:
			final[i] = g.number()
		default:
			final[i] = g.word()
		}
	}
	f := g.Func(final)
	if len(f.Stores) == 0 {
		return randomGraph(rng)
	}
	return f
}

// last takes one of a list, rather of its end.
func (g *generator) last(list []ir.Value) ir.Value {
	return list[len(list)-1-min(g.rng.IntN(len(list)), g.rng.IntN(len(list)))]
}

func (g *generator) number() ir.Value { return g.last(g.numbers) }
func (g *generator) word() ir.Value   { return g.last(g.words) }
func (g *generator) truth() ir.Value  { return g.last(g.truths) }

// bits is what op makes of x, and the same for every NaN, whose payload is open.
func (g *generator) bits(op ir.Op, x ir.Value, nan uint32) ir.Value {
	return g.Select(g.Binary(ir.Ne, x, x), g.Word(nan), g.Unary(op, x))
}

// grow adds an operation.
func (g *generator) grow() {
	switch k := g.rng.IntN(26); {
	case k < 4:
		g.numbers = append(g.numbers, g.Binary(ir.Add+ir.Op(k), g.number(), g.number()))
	case k < 7:
		g.numbers = append(g.numbers, g.Unary(ir.Sqrt+ir.Op(k-4), g.number()))
	case k == 7:
		g.numbers = append(g.numbers, g.Select(g.truth(), g.number(), g.number()))
	case k == 8:
		g.numbers = append(g.numbers, g.Unary(ir.FromBits, g.word()))
	case k == 9:
		g.numbers = append(g.numbers, g.Unary(ir.FromHalf, g.word()))
	case k == 10 && g.width == 32:
		g.words = append(g.words, g.bits(ir.ToBits, g.number(), 0x7fc00000))
	case k == 11 && g.width == 32:
		g.words = append(g.words, g.bits(ir.ToHalf, g.number(), 0x7e00))
	case k < 19:
		op := ir.WAdd + ir.Op(g.rng.IntN(int(ir.WXor-ir.WAdd+1)))
		g.words = append(g.words, g.Binary(op, g.word(), g.word()))
	case k < 21:
		g.words = append(g.words, g.Shift(ir.WShl+ir.Op(k-19), g.word(), []int{0, 1, 8, 13, 16, 31}[g.rng.IntN(6)]))
	case k == 21:
		g.words = append(g.words, g.Select(g.truth(), g.word(), g.word()))
	case k == 22:
		g.truths = append(g.truths, g.Binary(ir.WLt+ir.Op(g.rng.IntN(2)), g.word(), g.word()))
	case k == 23:
		g.truths = append(g.truths, g.Binary(ir.Lt+ir.Op(g.rng.IntN(4)), g.number(), g.number()))
	case k == 24:
		g.truths = append(g.truths, g.Binary(ir.And+ir.Op(g.rng.IntN(2)), g.truth(), g.truth()), g.Unary(ir.Not, g.truth()))
	default:
		g.truths = append(g.truths, g.Select(g.truth(), g.truth(), g.truth()))
	}
}

// A graphTrial is a random graph's module and the tensors that it runs on.
type graphTrial struct {
	rng     *rand.Rand
	f       *ir.Func
	module  *ptx.Module
	loaded  *Module
	mem     *Memory
	scalars []byte // of all groups
	tensors []graphTensor
	chunks  [][3]uint64 // as package ptx lays them out
	table   []uint64
}

type graphTensor struct {
	group, offset uint64
	n             int
	planes        []graphPlane // one a Module.Slots
}

type graphPlane struct {
	field, size   int
	at            uint64
	memory        []byte // the whole allocation, as it was
	first         int    // byte of the first element
	loads, stores bool
}

const graphGroups = 2

// someBits is an element: any bits, a number near 1, or one of few.
func someBits(rng *rand.Rand, t ir.Type, width int) uint64 {
	if t == ir.Float && width == 64 {
		return []uint64{rng.Uint64(), math.Float64bits(rng.NormFloat64()), math.Float64bits(float64(rng.IntN(4))), math.Float64bits(math.NaN())}[min(rng.IntN(5), 3)]
	}
	return []uint64{rng.Uint64(), uint64(math.Float32bits(float32(rng.NormFloat64()))), uint64(math.Float32bits(float32(rng.IntN(4)))), 0x7fc00000, rng.Uint64() & 0xff}[rng.IntN(5)]
}

func putBits(b []byte, size int, x uint64) {
	for i := range size {
		b[i] = byte(x >> (8 * i))
	}
}

func getBits64(b []byte, size int) (x uint64) {
	for i := range size {
		x |= uint64(b[i]) << (8 * i)
	}
	return x
}

func (r *graphTrial) alloc(b []byte) uint64 {
	at, err := r.mem.Alloc(uint64(max(len(b), 1)))
	if err == nil {
		err = r.mem.Write(at, b)
	}
	if err != nil {
		panic(err)
	}
	return at
}

// newGraphTrial makes tensors: their planes' first elements are some together and some apart. Around each plane lies memory that is
// looked at too.
func newGraphTrial(rng *rand.Rand, mutate func(string) string) (*graphTrial, error) {
	f := randomGraph(rng)
	r := &graphTrial{rng: rng, f: f, module: ptx.OfGraph("random", f, scalarCount), mem: NewMemory(DefaultBase, DefaultSpace)}
	var err error
	if r.loaded, err = Load(mutate(r.module.Text)); err != nil {
		return nil, fmt.Errorf("%w: %w", errGraphText, err)
	}
	size := f.Width / 8
	r.scalars = make([]byte, graphGroups*(scalarCount+kernels.SharedScalars)*size)
	for i := 0; i < len(r.scalars); i += size {
		putBits(r.scalars[i:], size, someBits(rng, ir.Float, f.Width))
	}
	loads := f.Loads()
	for i := range 1 + rng.IntN(3) {
		t := graphTensor{group: uint64(rng.IntN(graphGroups)), offset: []uint64{0, 5, 1<<32 - 20, rng.Uint64() >> 4}[rng.IntN(4)], n: rng.IntN(71)}
		r.table = append(r.table, t.group)
		together := rng.IntN(16)
		for _, v := range r.module.Slots {
			p := graphPlane{field: v, size: f.Vars[v].Type.Size(f.Width), loads: slices.Contains(loads, v)}
			p.stores = slices.ContainsFunc(f.Stores, func(s ir.Store) bool { return s.Var == v })
			before, after := together, rng.IntN(20)
			if i == 2 {
				before = rng.IntN(20)
			}
			p.first, p.memory = before*p.size, make([]byte, (before+t.n+after)*p.size)
			for k := range before + t.n + after {
				putBits(p.memory[k*p.size:], p.size, someBits(rng, f.Vars[v].Type, f.Width))
			}
			p.at = r.alloc(p.memory) + uint64(p.first)
			r.table = append(r.table, p.at)
			t.planes = append(t.planes, p)
		}
		if r.module.Indexed {
			r.table = append(r.table, t.offset)
		}
		length := []int{1 + rng.IntN(40), 71}[rng.IntN(2)]
		for lo := 0; lo < t.n; lo += length {
			r.chunks = append(r.chunks, [3]uint64{uint64(i), uint64(lo), uint64(min(length, t.n-lo))})
		}
		r.tensors = append(r.tensors, t)
	}
	return r, nil
}

// words is a table in device memory.
func (r *graphTrial) words(x []uint64) uint64 {
	var b []byte
	for _, v := range x {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return r.alloc(b)
}

// run launches a kernel, and counts how often each byte of the tensors is loaded and stored, and the bytes of vectors.
func (r *graphTrial) run(name string, more ...uint64) (counts map[uint64]*[2]int, vectors map[uint64]int, err error) {
	var chunks []uint64
	for _, c := range r.chunks {
		chunks = append(chunks, c[:]...)
	}
	l := Launch{Grid: [3]uint32{uint32(1 + r.rng.IntN(3)), 1, 1}, Block: [3]uint32{[]uint32{1, 5, 32, 64}[r.rng.IntN(4)], 1, 1},
		Checks: AllChecks, Workers: 1, Seed: r.rng.Uint64(), Budget: 1 << 20}
	for _, x := range append([]uint64{r.words(chunks), uint64(len(r.chunks)), r.words(r.table), r.alloc(r.scalars)}, more...) {
		l.Params = append(l.Params, param64(x))
	}
	var mu sync.Mutex
	counts, vectors = map[uint64]*[2]int{}, map[uint64]int{}
	l.Trace = func(addr, bytes uint64, write bool) {
		mu.Lock()
		defer mu.Unlock()
		for i := range bytes {
			if counts[addr+i] == nil {
				counts[addr+i] = &[2]int{}
			}
			if write {
				counts[addr+i][1]++
			} else {
				counts[addr+i][0]++
			}
		}
		vectors[bytes] += int(bytes)
	}
	return counts, vectors, r.loaded.Kernel(name).Run(r.mem, l)
}

// check compares the tensors' memory with what element k of each plane should be, by get, and what was counted with what the graph loads
// and stores.
func (r *graphTrial) check(counts map[uint64]*[2]int, want func(t *graphTensor, k int) []uint64, times func(p *graphPlane) [2]int) error {
	for i := range r.tensors {
		t := &r.tensors[i]
		for k := range t.n {
			for at, x := range want(t, k) {
				p := &t.planes[at]
				putBits(p.memory[p.first+k*p.size:], p.size, x)
				for b := range uint64(p.size) {
					got := counts[p.at+uint64(k*p.size)+b]
					if got == nil {
						got = &[2]int{}
					}
					if *got != times(p) {
						return fmt.Errorf("tensor %d: %s[%d]: byte %d is loaded and stored %d times, want %d", i, r.f.Vars[p.field].Name, k, b, *got, times(p))
					}
				}
			}
		}
		for _, p := range t.planes {
			got := make([]byte, len(p.memory))
			if err := r.mem.Read(p.at-uint64(p.first), got); err != nil {
				return err
			}
			for k := 0; k < len(got); k += p.size {
				x, y := getBits64(got[k:], p.size), getBits64(p.memory[k:], p.size)
				nan := r.f.Vars[p.field].Type == ir.Float && isNaN(x, p.size) && isNaN(y, p.size)
				if x != y && !nan {
					return fmt.Errorf("tensor %d of %d: %s[%d] is %#x, want %#x", i, t.n, r.f.Vars[p.field].Name, (k-p.first)/p.size, x, y)
				}
			}
			copy(p.memory, got) // the same NaN
		}
	}
	return nil
}

func isNaN(x uint64, size int) bool {
	if size == 4 {
		return get32(x) != get32(x)
	}
	return get64(x) != get64(x)
}

// evaluate is the graph on element k of a tensor: its planes after it.
func evaluate[F float32 | float64](r *graphTrial, t *graphTensor, k int) (out []uint64) {
	e := ir.NewEvaluator[F](r.f)
	e.Index = t.offset + uint64(k)
	vars := make([]F, len(r.f.Vars))
	set := func(v int, x uint64) {
		e.Words[v] = uint32(x)
		if r.f.Vars[v].Type == ir.Float {
			vars[v] = numberOf[F](x)
		}
	}
	size := r.f.Width / 8
	for v, field := range r.f.Vars {
		i := int(t.group)*(scalarCount+kernels.SharedScalars) + field.Index
		if field.Bank == rule.SharedBank {
			i += scalarCount
		}
		if field.Bank != rule.ElemBank {
			set(v, getBits64(r.scalars[i*size:], field.Type.Size(r.f.Width)))
		}
	}
	for _, p := range t.planes {
		set(p.field, getBits64(p.memory[p.first+k*p.size:], p.size))
	}
	e.Run(vars)
	for _, p := range t.planes {
		x := uint64(e.Words[p.field])
		if r.f.Vars[p.field].Type == ir.Float {
			x = numberBits(vars[p.field])
		}
		out = append(out, x)
	}
	return out
}

func numberOf[F float32 | float64](x uint64) F {
	var f F
	switch p := any(&f).(type) {
	case *float32:
		*p = get32(x)
	case *float64:
		*p = get64(x)
	}
	return f
}

func numberBits[F float32 | float64](f F) uint64 {
	switch x := any(f).(type) {
	case float32:
		return uint64(math.Float32bits(x))
	case float64:
		return math.Float64bits(x)
	}
	return 0
}

var errGraphText = fmt.Errorf("the text does not load")

// tryGraph makes a graph of the seed, holds its update to the evaluator, and its traffic to what an update loads and stores.
func tryGraph(seed uint64, mutate func(string) string) error {
	r, err := newGraphTrial(rand.New(rand.NewPCG(seed, 3)), mutate)
	if err != nil {
		return err
	}
	wide := r.vectorBytes()
	yes := func(b bool) int { return btoi(b) }
	counts, vectors, err := r.run(r.module.Update)
	if err != nil {
		return err
	}
	if err := r.check(counts, func(t *graphTensor, k int) []uint64 {
		if r.f.Width == 32 {
			return evaluate[float32](r, t, k)
		}
		return evaluate[float64](r, t, k)
	}, func(p *graphPlane) [2]int { return [2]int{yes(p.loads), yes(p.stores)} }); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	if vectors[16] < wide {
		return fmt.Errorf("update: %d bytes are loaded or stored 16 at a time, want %d", vectors[16], wide)
	}
	counts, _, err = r.run(r.module.Traffic, 0)
	if err != nil {
		return err
	}
	if err := r.check(counts, func(t *graphTensor, k int) (out []uint64) {
		for _, p := range t.planes {
			out = append(out, getBits64(p.memory[p.first+k*p.size:], p.size)*uint64(yes(p.loads)))
		}
		return out
	}, func(p *graphPlane) [2]int { return [2]int{yes(p.loads), yes(p.stores)} }); err != nil {
		return fmt.Errorf("traffic: %w", err)
	}
	return nil
}

// vectorBytes is how many bytes of the widest planes are to be loaded and stored 16 at a time.
func (r *graphTrial) vectorBytes() (bytes int) {
	for _, c := range r.chunks {
		t := &r.tensors[c[0]]
		widest := 0
		for _, p := range t.planes {
			widest = max(widest, p.size)
		}
		lanes := 16 / widest
		head := func(p *graphPlane) int { return -(int(p.at/uint64(p.size)) + int(c[1])) & (lanes - 1) }
		together := true
		for i := range t.planes {
			together = together && head(&t.planes[i]) == head(&t.planes[0])
		}
		if !together {
			continue
		}
		for _, p := range t.planes {
			if p.size == widest {
				bytes += max(int(c[2])-head(&p), 0) / lanes * 16 * (btoi(p.loads) + btoi(p.stores))
			}
		}
	}
	return bytes
}

// TestGraphs holds the kernels of random graphs to the evaluator.
func TestGraphs(t *testing.T) {
	n := uint64(3000)
	if testing.Short() {
		n = 300
	}
	for seed := range n {
		if err := tryGraph(seed, func(s string) string { return s }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func FuzzGraphs(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		if err := tryGraph(seed, func(s string) string { return s }); err != nil {
			t.Fatal(err)
		}
	})
}

// TestGraphsNotice changes one kind of instruction in what is emitted, and requires TestGraphs to notice.
func TestGraphsNotice(t *testing.T) {
	for _, change := range [][2]string{
		{"add.u32 %v", "sub.u32 %v"}, {"sub.u32", "add.u32"}, {"mul.lo.u32", "mul.hi.u32"}, {"mul.hi.u32", "mul.lo.u32"}, {"and.b32", "or.b32"},
		{"\tor.b32", "\txor.b32"}, {"xor.b32", "or.b32"}, {"shl.b32", "shr.u32"}, {"shr.u32", "shl.b32"}, {"shr.u32", "shr.s32"}, {"mul.hi.u32", "mul.hi.s32"},
		{"setp.lt.u32", "setp.le.u32"}, {"setp.lt.u32", "setp.lt.s32"}, {"setp.eq.u32 %v", "setp.ne.u32 %v"}, {"cvt.f32.f16", "cvt.f32.bf16"},
		{"cvt.rn.f16.f32", "cvt.rn.bf16.f32"}, {"cvt.u32.u16", "cvt.s32.s16"}, {"shr.u64 %v", "shl.b64 %v"}, {"add.u64 %index", "sub.u64 %index"}, {"%origin, %first;", "%origin, 0;"},
		{"0x5410;", "0x5432;"}, {", 0xffff;", ", 0xff;"}, {", 16;", ", 15;"}, {"0x4440;", "0x4441;"}, {"0x4442;", "0x4443;"}, {"0x4443;", "0x4442;"}, {"0x40;", "0x41;"},
		{".u16 ", ".s16 "}, {".u8 ", ".s8 "}, {"and.b64 %apart, %apart, 3;", "and.b64 %apart, %apart, 1;"}, {"and.b64 %apart, %apart, 7;", "and.b64 %apart, %apart, 3;"},
		{"and.b64 %head, %head, 7;", "and.b64 %head, %head, 3;"}, {"xor.b64 %diff", "and.b64 %diff"},
	} {
		mutate := func(s string) string { return strings.ReplaceAll(s, change[0], change[1]) }
		noticed, tried := false, 0
		for seed := uint64(0); seed < 3000 && !noticed; seed++ {
			if f := randomGraph(rand.New(rand.NewPCG(seed, 3))); !strings.Contains(ptx.OfGraph("random", f, scalarCount).Text, change[0]) {
				continue
			}
			tried++
			err := tryGraph(seed, mutate)
			if err != nil && strings.Contains(err.Error(), errGraphText.Error()) {
				t.Fatalf("%s for %s: %v", change[1], change[0], err)
			}
			noticed = err != nil
		}
		if !noticed {
			t.Errorf("%s for %s: not noticed in %d graphs", change[1], change[0], tried)
		}
	}
}
