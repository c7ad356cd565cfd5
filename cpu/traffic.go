package cpu

import (
	"slices"
	"strings"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// CompileTraffic implements kernels.Backend: the loads and stores of an update, pass after pass and chunk by chunk as the update makes them, and no
// arithmetic. The loops differ in how many cache lines they take at a time and in whether they prefetch, as which is best depends on
// the processor, on where the work lies and on how many threads there are.
func (d *Device) CompileTraffic(w kernels.Work) ([]kernels.Update, error) {
	if err := d.usable(&w); err != nil {
		return nil, err
	}
	if w.Program.Compute == device.Float32 {
		return newTraffic[float32](d.processor, w)
	}
	return newTraffic[float64](d.processor, w)
}

// TrafficName says what CompileTraffic moves bytes with on this machine.
func TrafficName() string {
	switch i := best(); {
	case i.loops != nil:
		return strings.ToUpper(i.name) + " loads and stores, the fastest of four loops"
	case i.set != nil:
		return "AVX2 loads and stores, by tiles"
	}
	return "the Go runtime's copy, through a block in cache"
}

// traffic is an update whose chunks do nothing but load and store.
type traffic[F rule.Float] struct {
	*update[F]
	passes []trafficPass
	paces  []pace // as the update's, of each form its own
	pass   int    // that large tensors are in
	body   func(thread, i int)
}

type trafficPass struct {
	planes []int // those of elements, those that are not stored first
	read   int   // how many of them those are
	code   *exec.Code
	round  int // elements that the code takes at a time; 1 where there is none
}

func newTraffic[F rule.Float](proc *processor, w kernels.Work) (all []kernels.Update, err error) {
	if proc.choice.err != nil {
		return nil, proc.choice.err
	}
	u := newWalk[F](proc, w)
	forms := []trafficForm{{}}
	if proc.choice.loops != nil {
		forms = forms[:0]
		for _, lines := range []int{1, 2} {
			for _, ahead := range []prefetching{{}, ahead(u.extent())} {
				forms = append(forms, trafficForm{lines, ahead})
			}
		}
	}
	for _, form := range forms {
		t := &traffic[F]{update: u, paces: make([]pace, len(w.Program.Passes))}
		for i := range w.Program.Passes {
			q, err := newTrafficPass(proc.choice.loops, w.Program, &w.Program.Passes[i], form)
			if err != nil {
				return nil, err
			}
			t.passes = append(t.passes, q)
		}
		t.body = t.batch
		all = append(all, t)
	}
	return all, nil
}

// trafficForm is one of the loops.
type trafficForm struct {
	lines int
	ahead prefetching
}

func newTrafficPass(set *emit.Set, p *kernels.Program, q *kernels.Pass, form trafficForm) (t trafficPass, err error) {
	of := func(k int) bool { return p.Planes[k].Domain == rule.OfElements }
	for _, k := range q.Loads {
		if of(k) && !slices.Contains(q.Stores, k) {
			t.planes = append(t.planes, k)
		}
	}
	t.read, t.round = len(t.planes), 1
	for _, k := range q.Stores {
		if of(k) {
			t.planes = append(t.planes, k)
		}
	}
	if set == nil || len(t.planes) == 0 {
		return t, nil
	}
	var sizes []int
	for _, k := range t.planes {
		sizes = append(sizes, p.Planes[k].DType.Size())
	}
	m := trafficMoves(set, sizes, t.read, form.lines, form.ahead)
	t.round = m.Round()
	t.code, err = newCode(m.Compile())
	return t, err
}

// trafficMoves loads what is behind each address, of elements of those bytes, and stores it again but for the first so many addresses.
func trafficMoves(set *emit.Set, sizes []int, read, lines int, p prefetching) emit.Moves {
	m := emit.Moves{Sizes: sizes, Set: set, Lines: lines, Near: p.near, Far: p.far}
	for i := range sizes {
		to := i
		if i < read {
			to = emit.Nothing
		}
		m.Moves = append(m.Moves, emit.Move{From: i, To: to})
	}
	return m
}

func (t *traffic[F]) Enqueue(s *device.Stream, _ kernels.Step) error {
	return t.proc.enqueue(s, t, t.small())
}

func (t *traffic[F]) run() {
	t.touched(nil)
	for t.pass = range t.passes {
		n := len(t.batches)
		if t.pass > 0 {
			n = len(t.large)
		}
		t.each(&t.paces[t.pass], n, t.body)
	}
}

func (t *traffic[F]) batch(_, i int) {
	if t.pass > 0 {
		i = t.large[i]
	}
	b := t.batches[i]
	for k := b.lo; k < b.hi; k++ {
		if b.large {
			t.chunk(&t.passes[t.pass], &t.chunks[k])
			continue
		}
		for p := range t.passes {
			t.chunk(&t.passes[p], &t.chunks[k])
		}
	}
}

func (t *traffic[F]) chunk(pass *trafficPass, c *chunk) {
	if len(pass.planes) == 0 {
		return
	}
	planes := t.tensors[c.tensor].planes
	lo := c.lo
	if whole := (c.hi - c.lo) / pass.round * pass.round; pass.code != nil && whole > 0 {
		at := make([]*byte, 0, 16)
		for _, k := range pass.planes {
			at = append(at, &planes[k][lo*t.program.Planes[k].DType.Size()])
		}
		pass.code.Run(&at[0], nil, nil, whole)
		lo += whole
	}
	if lo == c.hi {
		return
	}
	var tile [tileBytes]byte
	const most = tileBytes / 8 // elements
	for ; lo < c.hi; lo += most {
		hi := min(lo+most, c.hi)
		for i, k := range pass.planes {
			size := t.program.Planes[k].DType.Size()
			t.through(tile[:], planes[k][lo*size:hi*size], i >= pass.read)
		}
	}
}

// through reads x, at most a tile, and writes it back if back is set.
func (t *traffic[F]) through(tile, x []byte, back bool) {
	if set := t.proc.choice.set; set != nil && len(x)%set.vector == 0 {
		if back {
			tile = x
		}
		set.operations[32][move](&tile[0], &x[0], nil, nil, nil, &x[0], set.vector, 0, 0, 0, len(x))
		return
	}
	copy(tile, x)
	if back {
		copy(x, tile)
	}
}
