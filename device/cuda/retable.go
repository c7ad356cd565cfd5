//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"runtime"
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
)

// rewriter writes a table again, in the order of a stream, so that nothing waits while fewer than its pieces are under way.
type rewriter struct {
	staged *device.Buffer // pinned memory; nil before the first time
	ring   [8]piece
	next   int
}

// write enqueues making words what a table has.
func (r *rewriter) write(s *device.Stream, table *device.Buffer, words []uint64) error {
	dev, n := table.Device(), table.Len()
	if n == 0 {
		return nil
	}
	q, err := table.Span().Mem.(*memory).g.queue(s)
	if err != nil {
		return err
	}
	if r.staged == nil {
		host, err := q.g.staging(len(r.ring) * 8 * n)
		if err != nil {
			return err
		}
		if r.staged, err = dev.Wrap(device.Float64, len(r.ring)*n, host); err != nil {
			r.staged = nil
			return errors.Join(err, host.Free())
		}
	}
	in := &r.ring[r.next]
	if err := in.wait(dev); err != nil {
		return err
	}
	host := unsafe.Slice((*uint64)(r.staged.Span().Mem.(*staging).p), len(r.ring)*n)[r.next*n:][:n]
	r.next = (r.next + 1) % len(r.ring)
	copy(host, words)
	return in.copy(q, table, unsafe.Pointer(&host[0]))
}

func (r *rewriter) close() error {
	var errs []error
	if r.staged != nil {
		errs = append(errs, r.staged.Close())
	}
	for _, in := range r.ring {
		if in.used != nil {
			errs = append(errs, in.used.Close())
		}
	}
	return errors.Join(errs...)
}

// retables says whether a work differs from another in where planes are, and in nothing else.
func retables(w, v kernels.Work) bool {
	return w.Program == v.Program && slices.Equal(w.Counters, v.Counters) && slices.EqualFunc(w.Tensors, v.Tensors, func(t, u kernels.Tensor) bool {
		return t.Group == u.Group && t.Index() == u.Index() && t.Rows == u.Rows && t.Matrices == u.Matrices && t.Sums == u.Sums && slices.EqualFunc(t.Planes, u.Planes, func(a, b *device.Buffer) bool {
			return a == b || a.DType() == b.DType() && a.Len() == b.Len() && a.Len() == t.Len() // other tables have those of rows and columns, too
		})
	})
}

// Retable implements kernels.Retabled.
func (u *update) Retable(s *device.Stream, w kernels.Work) (bool, error) {
	defer runtime.KeepAlive(u)
	if !retables(u.work, w) || u.aside != nil {
		return false, nil
	}
	if err := u.rewrites.write(s, u.tensors, u.table(w.Tensors)); err != nil {
		return false, err
	}
	u.work = w
	return true, nil
}

// Retable implements kernels.Retabled.
func (n *norm) Retable(s *device.Stream, w kernels.Work) (bool, error) {
	defer runtime.KeepAlive(n)
	if !retables(n.work, w) {
		return false, nil
	}
	tables, _ := norms(w)
	for t, table := range tables {
		r := n.rewrites[t]
		if r == nil {
			r = new(rewriter)
			n.rewrites[t] = r
		}
		if err := r.write(s, n.tiles[t], table); err != nil {
			return false, err
		}
	}
	n.work = w
	return true, nil
}
