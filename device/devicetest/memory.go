package devicetest

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/fusestep/fusestep/device"
)

var lengths = []int{0, 1, 31, 32, 33, 127, 1023, 4097, 1<<20 + 7}

func alloc(r *rig) {
	var live []*device.Buffer
	for _, dtype := range []device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16, device.Int16, device.Int8} {
		for _, n := range lengths {
			b := r.buffer(dtype, n)
			what := fmt.Sprintf("buffer of %d %s at %#x", n, dtype, b.Addr())
			if b.Device() != r.dev || b.DType() != dtype || b.Len() != n {
				r.Fatalf("%s is of %s, %d %s", what, b.Device().Name(), b.Len(), b.DType())
			}
			if b.Addr()%64 != 0 || (b.Addr() == 0) != (n == 0) {
				r.Fatalf("%s: want a multiple of 64, and 0 for none", what)
			}
			for _, o := range live {
				if b.Overlaps(o) {
					r.Fatalf("%s shares memory with one of %d %s at %#x", what, o.Len(), o.DType(), o.Addr())
				}
			}
			live = append(live, b)
		}
	}
	for _, b := range live {
		r.ok(r.s.Zero(b))
		if b.Len() == 0 {
			r.ok(r.s.Copy(b, b)) // nothing overlaps nothing
		}
		part := r.slice(b, 0, b.Len())
		if part.Close() == nil || part.Check(r.dev) != nil {
			r.Fatalf("a slice was closed")
		}
		r.ok(b.Close())
		refused(r, "buffer", device.ErrClosed, part.Check(r.dev), b.Close())
	}
}

// allocRefused asks for too much, after which the device is as before.
func allocRefused(r *rig) {
	tooMuch := []int64{math.MaxInt, 1 << 59}
	switch free, total, err := r.dev.MemInfo(); {
	case err != nil:
		refused(r, "memory info", device.ErrUnavailable, err)
	case free < 0 || free > total || total <= 0:
		r.Fatalf("%d bytes of %d are free", free, total)
	default:
		tooMuch = append(tooMuch, total/8+1)
	}
	for _, n := range tooMuch {
		if _, err := r.dev.Alloc(device.Float64, int(min(n, math.MaxInt))); !errors.Is(err, device.ErrOutOfMemory) && !errors.Is(err, device.ErrRange) {
			r.Fatalf("alloc of %d float64: got error %v, want %v", n, err, device.ErrOutOfMemory)
		}
	}
	_, negative := r.dev.Alloc(device.Float32, -1)
	_, untyped := r.dev.Alloc(device.DType(0), 1)
	refused(r, "alloc of -1", device.ErrRange, negative)
	refused(r, "alloc of no type", device.ErrUnsupported, untyped)
	b, x := r.buffer(device.Float32, 4097), random[float32](r.rnd, 4097)
	r.ok(device.Upload(r.s, b, x))
	same(r, contents[float32](r, r.s, b), x, "upload after a refused alloc")
}

// move checks every way to move elements against the same on the host, at all lengths and offsets, between guard zones.
func move[T device.Element](dtype device.DType) func(*rig) {
	const guard = 16 // elements, and some more on one side
	return func(r *rig) {
		for _, n := range lengths {
			for off := range 4 {
				what := fmt.Sprintf(" of %d %s at offset %d", n, dtype, off)
				lo, lo2, size := guard+off, guard+3-off, n+2*guard+3
				a, b, x := r.buffer(dtype, size), r.buffer(dtype, size), random[T](r.rnd, n)
				aHost, bHost := random[T](r.rnd, size), random[T](r.rnd, size)
				part, part2 := r.slice(a, lo, lo+n), r.slice(b, lo2, lo2+n)
				r.ok(device.Upload(r.s, a, aHost))
				r.ok(device.Upload(r.s, b, bHost))
				r.ok(r.s.Synchronize())

				r.ok(device.Upload(r.s, part, x))
				got := contents[T](r, r.s, a)
				copy(aHost[lo:], x)
				same(r, got, aHost, "upload"+what)

				got = random[T](r.rnd, size)
				want := slices.Concat(got[:lo2], x, got[lo2+n:])
				r.ok(device.Download(r.s, got[lo2:lo2+n], part))
				r.ok(r.s.Synchronize())
				same(r, got, want, "download"+what)

				r.ok(r.s.Copy(part2, part))
				copy(bHost[lo2:], x)
				same(r, contents[T](r, r.s, b), bHost, "copy"+what)

				r.ok(r.s.Zero(part))
				clear(aHost[lo : lo+n])
				same(r, contents[T](r, r.s, a), aHost, "zero"+what)
				r.ok(a.Close())
				r.ok(b.Close())
			}
		}
	}
}

// refused says which of the errors are not want. A LengthError or DTypeError must have want's numbers.
func refused(r *rig, what string, want error, errs ...error) {
	r.Helper()
	for i, err := range errs {
		ok := errors.Is(err, want)
		if w, is := want.(*device.LengthError); is {
			g, typed := errors.AsType[*device.LengthError](err)
			ok = typed && g.Got == w.Got && g.Want == w.Want
		}
		if w, is := want.(*device.DTypeError); is {
			g, typed := errors.AsType[*device.DTypeError](err)
			ok = typed && g.Got == w.Got && g.Want == w.Want
		}
		if !ok {
			r.Errorf("%s, call %d: got error %v, want %v", what, i, err, want)
		}
	}
}

// refuseArguments gives wrong arguments, which must leave all memory as it was.
func refuseArguments(r *rig) {
	s, x, z, host := r.s, random[float32](r.rnd, 8), random[float64](r.rnd, 8), random[float32](r.rnd, 9)
	a, b, d, h := r.buffer(device.Float32, 8), r.buffer(device.Float32, 8), r.buffer(device.Float64, 8), r.buffer(device.Float16, 8)
	r.ok(device.Upload(s, a, x))
	r.ok(device.Upload(s, d, z))
	before, bBefore, hBefore := slices.Clone(host), contents[float32](r, s, b), contents[uint16](r, s, h)
	length := func(n int) error { return &device.LengthError{Got: n, Want: 8} }
	dtype := func(got, want device.DType) error { return &device.DTypeError{Got: got, Want: want} }
	_, below := a.Slice(-1, 2)
	_, backwards := a.Slice(3, 2)
	_, beyond := a.Slice(0, 9)
	refused(r, "too few", length(7), device.Upload(s, a, host[:7]), device.Download(s, host[:7], a), s.Copy(r.slice(b, 0, 7), a))
	refused(r, "too many", length(9), device.Upload(s, a, host), device.Download(s, host, a))
	refused(r, "none", length(0), device.Upload[float32](s, a, nil), s.Copy(r.slice(b, 3, 3), a))
	refused(r, "float64 as float32", dtype(device.Float64, device.Float32), device.Upload(s, a, z), device.Download(s, z, a), s.Copy(d, a))
	refused(r, "float32 as float16", dtype(device.Float32, device.Float16), device.Upload(s, h, host[:8]), s.Copy(b, h))
	refused(r, "int16 as float16", dtype(device.Int16, device.Float16), device.Upload(s, h, make([]int16, 8)))
	refused(r, "uint16 as float64", dtype(device.BFloat16, device.Float64), device.Upload(s, d, make([]uint16, 8)))
	refused(r, "overlap", device.ErrOverlap, s.Copy(a, a), s.Copy(r.slice(a, 3, 8), r.slice(a, 0, 5)), s.Copy(r.slice(a, 0, 5), r.slice(a, 3, 8)))
	refused(r, "slice", device.ErrRange, below, backwards, beyond)
	same(r, contents[float32](r, s, a), x, "after refusals")
	same(r, contents[float32](r, s, b), bBefore, "after refusals")
	same(r, contents[float64](r, s, d), z, "after refusals")
	same(r, contents[uint16](r, s, h), hBefore, "after refusals")
	same(r, host, before, "host after refusals")
	r.ok(s.Copy(r.slice(a, 4, 8), r.slice(a, 0, 4))) // neighbours do not overlap
	same(r, contents[float32](r, s, a), slices.Concat(x[:4], x[:4]), "copy to a neighbour")
	r.ok(s.Copy(r.slice(a, 8, 8), r.slice(a, 8, 8))) // nor does nothing
}

// uses are calls that fail where the stream is no good, or both the buffer and the event are not.
func uses(s *device.Stream, b, good *device.Buffer, e *device.Event) []error {
	x := make([]float32, 8)
	return []error{device.Upload(s, b, x), device.Download(s, x, b), s.Copy(b, good), s.Copy(good, b), s.Zero(b), s.Record(e), s.Wait(e)}
}

// closedCalls are the other calls of closed things.
func closedCalls(s *device.Stream, b *device.Buffer, e *device.Event) []error {
	_, slice := b.Slice(0, 1)
	_, done := e.Done()
	_, since := e.Since(e)
	return []error{slice, b.Close(), done, since, e.Synchronize(), e.Close(), s.Synchronize(), s.Close()}
}

// refuseObjects uses what is closed, nil, or another device's.
func refuseObjects(r *rig) {
	other := *r
	other.dev = r.open()
	b, c, foreign := r.buffer(device.Float32, 8), r.buffer(device.Float32, 8), other.buffer(device.Float32, 8)
	e, ce, foreignEvent := r.event(), r.event(), other.event()
	cs, part, x := r.stream(), r.slice(c, 0, 8), random[float32](r.rnd, 8)
	r.ok(device.Upload(r.s, b, x))
	r.ok(cs.Record(e))
	r.ok(cs.Record(ce))
	r.ok(other.dev.DefaultStream().Record(foreignEvent))
	r.ok(c.Close())
	r.ok(ce.Close())
	r.ok(cs.Close())
	_, since := e.Since(foreignEvent)
	refused(r, "of another device", device.ErrForeign, append(uses(r.s, foreign, b, foreignEvent), since, foreign.Check(r.dev), other.dev.DefaultStream().Check(r.dev))...)
	refused(r, "closed", device.ErrClosed, append(uses(r.s, c, b, ce), c.Check(r.dev), cs.Check(r.dev))...)
	refused(r, "slice of a closed buffer", device.ErrClosed, uses(r.s, part, b, ce)...)
	refused(r, "closed stream", device.ErrClosed, uses(cs, b, b, e)...)
	refused(r, "nil", device.ErrClosed, uses(r.s, nil, b, nil)...)
	refused(r, "nil stream", device.ErrClosed, uses(nil, b, b, e)...)
	refused(r, "other calls, closed", device.ErrClosed, closedCalls(cs, c, ce)...)
	refused(r, "other calls, nil", device.ErrClosed, closedCalls(nil, nil, nil)...)
	if r.s.Close() == nil {
		r.Errorf("the default stream was closed")
	}
	same(r, contents[float32](r, r.s, b), x, "after refusals")
}
