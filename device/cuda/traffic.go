//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"runtime"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// traffic is an update that loads and stores alone.
type traffic struct{ u *update }

// CompileTraffic implements kernels.Backend.
func (d *Device) CompileTraffic(w kernels.Work) ([]kernels.Update, error) {
	u, err := d.compile(w, true)
	if err != nil {
		return nil, err
	}
	return []kernels.Update{traffic{u}}, nil
}

func (t traffic) Enqueue(s *device.Stream, _ kernels.Step) error {
	defer runtime.KeepAlive(t.u)
	q, err := t.u.g.queue(s)
	if err != nil {
		return err
	}
	return t.u.g.do(func() error {
		for i, p := range t.u.mod.Passes {
			var never []uint64
			if p.Never {
				never = []uint64{0}
			}
			if p.Traffic == "" {
				continue
			}
			if err := t.u.walk(&t.u.passes[i].update, t.u.mod.passes[i].traffic, q, never...); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t traffic) Close() error { return t.u.Close() }

// divert gives the traffic memory of its own for planes that a pass writes and does not read. A kernel cannot store there what is there without
// loading it, and a step does not load it: so that as much is moved and every byte stays, it is stored elsewhere. Each piece lies as
// far from a multiple of 128 bytes as what it stands for, which decides on vectors.
func (u *update) divert(d *Device) error {
	tensors := slices.Clone(u.work.Tensors)
	for i := range tensors {
		tensors[i].Planes = slices.Clone(tensors[i].Planes)
	}
	for k, plane := range u.work.Program.Planes {
		if !slices.ContainsFunc(u.work.Program.Passes, func(p kernels.Pass) bool { return slices.Contains(p.Stores, k) && !slices.Contains(p.Loads, k) }) {
			continue
		}
		size := plane.DType.Size()
		line, end := 128/size, 0
		var from []int
		for _, t := range tensors {
			at := int(t.Planes[k].Addr()%128)/size + (end+line-1)/line*line
			from = append(from, at)
			end = at + t.Planes[k].Len()
		}
		aside, err := d.Alloc(plane.DType, end)
		if err != nil {
			return err
		}
		u.aside = append(u.aside, aside)
		if plane.Load { // by another pass
			s := d.DefaultStream()
			if err := errors.Join(s.Zero(aside), s.Synchronize()); err != nil {
				return err
			}
		}
		for i, t := range tensors {
			if t.Planes[k], err = aside.Slice(from[i], from[i]+t.Planes[k].Len()); err != nil {
				return err
			}
		}
	}
	u.work.Tensors = tensors
	return nil
}
