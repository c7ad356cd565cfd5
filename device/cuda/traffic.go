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
	var stores []int
	for k, plane := range p.Planes {
		if plane.Store && !plane.Load {
			stores = append(stores, k)
		}
	}
	if len(stores) == 0 {
		return nil
	}
	dtype := p.Planes[stores[0]].DType
	line, end := 128/dtype.Size(), 0
	var from []int
	for _, t := range u.work.Tensors {
		for _, k := range stores {
			at := int(t.Planes[k].Addr()%128)/dtype.Size() + (end+line-1)/line*line
			from = append(from, at)
			end = at + t.Planes[k].Len()
		}
	}
	var err error
	if u.aside, err = d.Alloc(dtype, end); err != nil {
		return err
	}
	tensors := slices.Clone(u.work.Tensors)
	for i, t := range tensors {
		tensors[i].Planes = slices.Clone(t.Planes)
		for j, k := range stores {
			at := from[i*len(stores)+j]
			if tensors[i].Planes[k], err = u.aside.Slice(at, at+t.Planes[k].Len()); err != nil {
				return err
			}
		}
	}
	u.work.Tensors = tensors
	return nil
}
