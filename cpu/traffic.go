package cpu

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

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
	switch w.Program.DType {
	case device.Float32:
		return newTraffic[float32](d.driver, w)
	default:
		return newTraffic[float64](d.driver, w)
	}
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
	slots []int // those that are not stored first
	read  int   // how many of them those are
	code  *exec.Code
	round int // elements that the code takes at a time; 1 where there is none
	body  func(thread, i int)
}

func newTraffic[F rule.Float](drv *driver, w kernels.Work) (all []kernels.Update, err error) {
	u, err := newUpdate[F](drv, w)
	if err != nil {
		return nil, err
	}
	t := traffic[F]{update: u, round: 1}
	for _, k := range u.loads {
		if !slices.Contains(u.stores, k) {
			t.slots = append(t.slots, k)
		}
	}
	t.read = len(t.slots)
	t.slots = append(t.slots, u.stores...)
	if drv.choice.loops == nil {
		t.body = t.chunk
		return []kernels.Update{&t}, nil
	}
	size := w.Program.DType.Size()
	for _, lines := range []int{1, 2} {
		for _, p := range []prefetching{{}, ahead(u.elements, len(u.tensors), len(t.slots), size)} {
			form := t
			m := trafficMoves(drv.choice.loops, slices.Repeat([]int{size}, len(t.slots)), t.read, lines, p)
			if form.code, err = newCode(m.Compile()); err != nil {
				return nil, err
			}
			form.round = m.Round()
			form.body = form.chunk
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
	return t.drv.enqueue(s, t, t.small())
}

func (t *traffic[F]) run() {
	t.touched()
	t.each(t.body)
}

func (t *traffic[F]) chunk(_, i int) {
	c := t.chunks[i]
	slots := t.tensors[c.tensor].slots
	lo := c.lo
	if whole := (c.hi - c.lo) / t.round * t.round; t.code != nil && whole > 0 {
		at := make([]*byte, 0, 16)
		for _, k := range t.slots {
			at = append(at, (*byte)(unsafe.Pointer(&slots[k][lo])))
		}
		t.code.Run(&at[0], nil, nil, whole)
		lo += whole
	}
	size := int(unsafe.Sizeof(F(0)))
	var tile []byte
	for ; lo < c.hi; lo += tileBytes / size {
		if tile == nil {
			tile = make([]byte, tileBytes)
		}
		hi := min(lo+tileBytes/size, c.hi)
		for i, k := range t.slots {
			x := slots[k][lo:hi]
			t.through(tile, unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*size), i >= t.read)
		}
	}
}

// through reads x, at most a tile, and writes it back if back is set.
func (t *traffic[F]) through(tile, x []byte, back bool) {
	if set := t.drv.choice.set; set != nil && len(x) == tileBytes {
		if back {
			tile = x
		}
		set.operations[32][move](&tile[0], &x[0], nil, nil, nil, &x[0], set.vector, 0, 0, 0, tileBytes)
		return
	}
	copy(tile, x)
	if back {
		copy(x, tile)
	}
}
