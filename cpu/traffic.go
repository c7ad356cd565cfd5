package cpu

import (
	"fmt"
	"strings"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// CompileTraffic implements kernels.Backend: the loads and stores of an update, chunk by chunk as the update makes them, and no
// arithmetic. The loops differ in how many cache lines they take at a time and in whether they prefetch, as which is best depends on
// the processor, on where the work lies and on how many threads there are.
func (d *Device) CompileTraffic(w kernels.Work) ([]kernels.Update, error) {
	if d.Threads() == 0 {
		return nil, fmt.Errorf("cpu: %w", device.ErrClosed)
	}
	if err := executable(w.Program); err != nil {
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
	planes []int // those that are not stored first
	read   int   // how many of them those are
	code   *exec.Code
	round  int // elements that the code takes at a time; 1 where there is none
	body   func(thread, i int)
}

func newTraffic[F rule.Float](proc *processor, w kernels.Work) (all []kernels.Update, err error) {
	if proc.choice.err != nil {
		return nil, proc.choice.err
	}
	u := newWalk[F](proc, w)
	t := traffic[F]{update: u, round: 1}
	p := w.Program
	for k, plane := range p.Planes {
		if !plane.Store {
			t.planes = append(t.planes, k)
		}
	}
	t.read = len(t.planes)
	t.planes = append(t.planes, p.Passes[0].Stores...)
	if proc.choice.loops == nil {
		t.body = t.batch
		return []kernels.Update{&t}, nil
	}
	var sizes []int
	for _, k := range t.planes {
		sizes = append(sizes, p.Planes[k].DType.Size())
	}
	for _, lines := range []int{1, 2} {
		for _, ahead := range []prefetching{{}, ahead(u.elements*elementBytes(p), len(u.tensors)*len(p.Planes))} {
			form := t
			m := trafficMoves(proc.choice.loops, sizes, t.read, lines, ahead)
			if form.code, err = newCode(m.Compile()); err != nil {
				return nil, err
			}
			form.round = m.Round()
			form.body = form.batch
			all = append(all, &form)
		}
	}
	return all, nil
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
	t.each(t.body)
}

func (t *traffic[F]) batch(_, i int) {
	for k := t.batches[i]; k < t.batches[i+1]; k++ {
		t.chunk(&t.chunks[k])
	}
}

func (t *traffic[F]) chunk(c *chunk) {
	planes := t.tensors[c.tensor].planes
	lo := c.lo
	if whole := (c.hi - c.lo) / t.round * t.round; t.code != nil && whole > 0 {
		at := make([]*byte, 0, 16)
		for _, k := range t.planes {
			at = append(at, &planes[k][lo*t.program.Planes[k].DType.Size()])
		}
		t.code.Run(&at[0], nil, nil, whole)
		lo += whole
	}
	if lo == c.hi {
		return
	}
	var tile [tileBytes]byte
	const most = tileBytes / 8 // elements
	for ; lo < c.hi; lo += most {
		hi := min(lo+most, c.hi)
		for i, k := range t.planes {
			size := t.program.Planes[k].DType.Size()
			t.through(tile[:], planes[k][lo*size:hi*size], i >= t.read)
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
