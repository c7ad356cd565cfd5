package cpu

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// CompileTraffic implements kernels.Backend: the loads and stores of an update, chunk by chunk as the update makes them, and no
// arithmetic. How close an update comes to it is what gpubench reports.
func (d *Device) CompileTraffic(w kernels.Work) (kernels.Update, error) {
	if d.Threads() == 0 {
		return nil, fmt.Errorf("cpu: %w", device.ErrClosed)
	}
	if w.Program.Compute == device.Float32 {
		return newTraffic[float32](d.driver, w)
	}
	return newTraffic[float64](d.driver, w)
}

// TrafficName says what CompileTraffic moves bytes with on this machine.
func TrafficName() string {
	if i := best(); i.set != nil {
		return strings.ToUpper(strings.TrimSuffix(i.name, "-tiles")) + " loads and stores"
	}
	return "the Go runtime's copy, through a block in cache"
}

// traffic is an update whose chunks do nothing but load and store.
type traffic[F rule.Float] struct {
	*update[F]
	read     []int // slots that are not stored
	loop     trafficLoop
	ahead    prefetching
	pointers [][]*byte // of each thread
	body     func(thread, i int)
}

func newTraffic[F rule.Float](drv *driver, w kernels.Work) (*traffic[F], error) {
	u, err := newUpdate[F](drv, w)
	if err != nil {
		return nil, err
	}
	t := &traffic[F]{update: u}
	for k, plane := range w.Program.Planes {
		if !plane.Store {
			t.read = append(t.read, k)
		}
	}
	if set := drv.choice.set; set != nil {
		t.loop = set.traffics[traffics{len(t.read), len(w.Program.Stores)}]
	}
	t.ahead = drv.prefetching(u.elements, len(u.tensors), w.Program)
	for range drv.pool.threads {
		t.pointers = append(t.pointers, make([]*byte, len(w.Program.Planes)))
	}
	t.body = t.batch
	return t, nil
}

func (t *traffic[F]) Enqueue(s *device.Stream, _ kernels.Step) error {
	return t.drv.enqueue(s, t, t.small())
}

func (t *traffic[F]) run() {
	t.touched()
	t.each(t.body)
}

func (t *traffic[F]) batch(thread, i int) {
	for k := t.batches[i]; k < t.batches[i+1]; k++ {
		t.chunk(thread, k)
	}
}

func (t *traffic[F]) chunk(thread, i int) {
	c := t.chunks[i]
	var slots [][]F
	for _, plane := range t.tensors[c.tensor].planes {
		slots = append(slots, as[F](plane))
	}
	lo := c.lo
	if whole := (c.hi - c.lo) &^ (roundBytes/int(unsafe.Sizeof(F(0))) - 1); t.loop != nil && whole > 0 {
		p := t.pointers[thread]
		for i, k := range t.read {
			p[i] = (*byte)(unsafe.Pointer(&slots[k][lo]))
		}
		for i, k := range t.program.Stores {
			p[len(t.read)+i] = (*byte)(unsafe.Pointer(&slots[k][lo]))
		}
		t.loop(&p[0], whole*int(unsafe.Sizeof(F(0))), t.ahead.near, t.ahead.far)
		lo += whole
	}
	for ; lo < c.hi; lo += copyBlock {
		hi := min(lo+copyBlock, c.hi)
		for _, k := range t.read {
			copyThrough(slots[k][lo:hi], false)
		}
		for _, k := range t.program.Stores {
			copyThrough(slots[k][lo:hi], true)
		}
	}
}

// copyBlock is the elements that the runtime's copy moves at a time: small beside the first-level cache.
const copyBlock = 256

// copyThrough reads x, at most copyBlock elements, and writes it back if back is set.
func copyThrough[F rule.Float](x []F, back bool) {
	var block [copyBlock]F
	copy(block[:], x)
	if back {
		copy(x, block[:])
	}
}
