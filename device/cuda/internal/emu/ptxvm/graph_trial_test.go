package ptxvm

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/ptx"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A graphTrial is a random graph's module and the tensors that it runs on.
type graphTrial struct {
	rng     *rand.Rand
	f       *ir.Func
	fills   []kernels.Fill
	module  *ptx.Module
	pass    *ptx.Pass
	loaded  *Module
	mem     *Memory
	scalars []byte // of all groups
	tensors []graphTensor
	chunks  [][3]uint64 // as package ptx lays them out
	table   []uint64
}

type graphTensor struct {
	group, offset uint64
	own           [ownCount]uint64 // scalars, of a graph with fills
	n             int
	planes        []graphPlane // of the graph
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
func newGraphTrial(rng *rand.Rand, filled bool, mutate func(string) string) (*graphTrial, error) {
	f, fills := randomGraph(rng, filled)
	r := &graphTrial{rng: rng, f: f, fills: fills, module: ptx.OfGraph("random", f, scalarCount, scalarCount+sharedCount, fills...), mem: NewMemory(DefaultBase, DefaultSpace)}
	r.pass = &r.module.Passes[0]
	var err error
	if r.loaded, err = Load(mutate(r.module.Text)); err != nil {
		return nil, fmt.Errorf("%w: %w", errGraphText, err)
	}
	size := f.Width / 8
	r.scalars = make([]byte, graphGroups*(scalarCount+sharedCount)*size)
	for i := 0; i < len(r.scalars); i += size {
		putBits(r.scalars[i:], size, someBits(rng, ir.Float, f.Width))
	}
	loads := f.Loads()
	for i := range 1 + rng.IntN(3) {
		t := graphTensor{group: uint64(rng.IntN(graphGroups)), offset: []uint64{0, 5, 1<<32 - 20, rng.Uint64() >> 4}[rng.IntN(4)], n: rng.IntN(71)}
		if filled {
			t.n = []int{t.n, rng.IntN(140), rng.IntN(700)}[rng.IntN(3)]
		}
		r.table = append(r.table, t.group)
		together := rng.IntN(16)
		if filled && rng.IntN(2) == 0 {
			together &^= 3
		}
		for v, field := range f.Vars {
			if field.Bank != rule.ElemBank {
				continue
			}
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
		if filled {
			for k := range t.own {
				t.own[k] = someBits(rng, ir.Float, f.Width) & (1<<f.Width - 1)
			}
			r.table = append(r.table, append([]uint64{0}, t.own[:]...)...)
			r.table = append(r.table, make([]uint64, len(fills))...)
			if length = 128 + 4*rng.IntN(150); t.n <= 140 && rng.IntN(2) == 0 {
				length = []int{1, 4 + rng.IntN(40)}[rng.IntN(2)]
			}
		}
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
	l := r.launch(append([]uint64{r.words(chunks), uint64(len(r.chunks)), r.words(r.table), r.alloc(r.scalars)}, more...))
	if l.Block = [3]uint32{[]uint32{1, 5, 32, 64}[r.rng.IntN(4)], 1, 1}; r.fills != nil && name == r.pass.Update {
		l.Block[0] = ptx.Block
	}
	counts, vectors = map[uint64]*[2]int{}, map[uint64]int{}
	l.Trace = func(addr, bytes uint64, write bool) {
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
		if r.widest(addr) {
			vectors[bytes] += int(bytes)
		}
	}
	return counts, vectors, r.loaded.Kernel(name).Run(r.mem, l)
}

// launch is one with parameters, of some blocks.
func (r *graphTrial) launch(params []uint64) Launch {
	l := Launch{Grid: [3]uint32{uint32(1 + r.rng.IntN(3)), 1, 1}, Block: [3]uint32{ptx.Block, 1, 1}, Checks: AllChecks, Workers: 1, Seed: r.rng.Uint64(), Budget: 1 << 20}
	for _, x := range params {
		l.Params = append(l.Params, param64(x))
	}
	return l
}

// widest says whether an address is in one of the widest planes.
func (r *graphTrial) widest(addr uint64) bool {
	for i := range r.tensors {
		t := &r.tensors[i]
		for _, p := range t.planes {
			if p.at <= addr && addr < p.at+uint64(t.n*p.size) {
				return p.size == t.widest()
			}
		}
	}
	return false
}

// widest is the most bytes of an element of a plane that is loaded or stored.
func (t *graphTensor) widest() int {
	widest := 1
	for _, p := range t.planes {
		if p.loads || p.stores {
			widest = max(widest, p.size)
		}
	}
	return widest
}

// check compares the tensors' memory with what element k of each plane should be, and what was counted with what the graph loads
// and stores.
func (r *graphTrial) check(counts map[uint64]*[2]int, want func(t *graphTensor, k int) []uint64) error {
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
					if times := [2]int{btoi(p.loads), btoi(p.stores)}; *got != times {
						return fmt.Errorf("tensor %d: %s[%d]: byte %d is loaded and stored %d times, want %d", i, r.f.Vars[p.field].Name, k, b, *got, times)
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

// evaluate is the graph on element k of a tensor: its planes after it, and its terms.
func evaluate[F float32 | float64](r *graphTrial, t *graphTensor, k int) (out []uint64, terms []float64) {
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
		i := int(t.group)*(scalarCount+sharedCount) + field.Index
		if field.Bank == rule.SharedBank {
			i += scalarCount
		}
		if field.Bank == rule.TensorBank {
			if field.Index < ownCount {
				set(v, t.own[field.Index])
			}
			continue
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
	for _, fill := range r.fills {
		terms = append(terms, float64(vars[fill.Var]))
	}
	return out, terms
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
