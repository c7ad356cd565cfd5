//go:build cuda && cgo && linux

package cuda

import (
	"runtime"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// traffic is an update that loads and stores alone.
type traffic struct{ *update }

// CompileTraffic implements kernels.Backend.
func (d *Device) CompileTraffic(w kernels.Work) ([]kernels.Update, error) {
	u, err := d.compile(w, true)
	if err != nil {
		return nil, err
	}
	return []kernels.Update{traffic{u}}, nil
}

func (t traffic) Enqueue(s *device.Stream, _ kernels.Step) error {
	defer runtime.KeepAlive(t.update)
	q, err := t.g.queue(s)
	if err != nil {
		return err
	}
	return t.g.do(func() error { return t.pass(t.mod.traffic, q, 0) })
}

// divert gives the traffic memory of its own for slots that are written and not read. A kernel cannot store there what is there without
// loading it, and a step does not load it: so that as much is moved and every byte stays, it is stored elsewhere. Each piece lies as
// far from a multiple of 128 bytes as what it stands for, which decides on vectors.
func (u *update) divert(d *Device) error {
	p := u.work.Program
	loads, stores, err := p.Slots()
	if err != nil {
		return err
	}
	stores = slices.DeleteFunc(stores, func(k int) bool { return slices.Contains(loads, k) })
	if len(stores) == 0 {
		return nil
	}
	line, end := 128/p.DType.Size(), 0
	var from []int
	for _, t := range u.work.Tensors {
		for _, k := range stores {
			at := int(t.Slots[k].Addr()%128)/p.DType.Size() + (end+line-1)/line*line
			from = append(from, at)
			end = at + t.Slots[k].Len()
		}
	}
	if u.aside, err = d.Alloc(p.DType, end); err != nil {
		return err
	}
	tensors := slices.Clone(u.work.Tensors)
	for i, t := range tensors {
		tensors[i].Slots = slices.Clone(t.Slots)
		for j, k := range stores {
			at := from[i*len(stores)+j]
			if tensors[i].Slots[k], err = u.aside.Slice(at, at+t.Slots[k].Len()); err != nil {
				return err
			}
		}
	}
	u.work.Tensors = tensors
	return nil
}
