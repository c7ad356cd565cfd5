package cpu

import (
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rule"
)

// CompileTraffic implements kernels.Backend: the loads and stores of an update, chunk by chunk as the update makes them, and no
// arithmetic. Memory can do no better; how close an update comes is what gpubench reports.
//
// Within a chunk it takes trafficBlock bytes of one slot after the other.
func (d *Device) CompileTraffic(w kernels.Work) (kernels.Update, error) {
	switch w.Program.DType {
	case device.Float32:
		return newTraffic[float32](d.driver, w)
	default:
		return newTraffic[float64](d.driver, w)
	}
}

// trafficBlock is small beside the first-level cache, and many times a call's cost.
const trafficBlock = 2 << 10

// traffic is an update whose chunks do nothing but load and store.
type traffic[F rule.Float] struct {
	*update[F]
	body func(thread, i int)
}

func newTraffic[F rule.Float](drv *driver, w kernels.Work) (*traffic[F], error) {
	u, err := newUpdate[F](drv, w)
	if err != nil {
		return nil, err
	}
	t := &traffic[F]{update: u}
	t.body = func(_, i int) { t.chunk(i) }
	return t, nil
}

func (t *traffic[F]) Enqueue(s *device.Stream, _ kernels.Step) error {
	s.Queue().(*queue).enqueue(t, t.elements <= inlineLen)
	return nil
}

func (t *traffic[F]) run() {
	if t.elements > inlineLen {
		t.drv.pool.do(len(t.chunks), t.body)
		return
	}
	for i := range t.chunks {
		t.chunk(i)
	}
}

func (t *traffic[F]) chunk(i int) {
	c := t.chunks[i]
	slots := t.tensors[c.tensor].slots
	size := int(unsafe.Sizeof(F(0)))
	for lo := c.lo; lo < c.hi; lo += trafficBlock / size {
		hi := min(lo+trafficBlock/size, c.hi)
		for _, k := range t.loads {
			if !t.stored(k) {
				loadBlock(unsafe.Pointer(&slots[k][lo]), (hi-lo)*size)
			}
		}
		for _, k := range t.stores {
			storeBlock(unsafe.Pointer(&slots[k][lo]), (hi-lo)*size)
		}
	}
}

func (t *traffic[F]) stored(k int) bool {
	for _, s := range t.stores {
		if s == k {
			return true
		}
	}
	return false
}

// TrafficName says what CompileTraffic moves bytes with on this machine.
func TrafficName() string { return trafficName }
