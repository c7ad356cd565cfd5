package devicetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/fusestep/fusestep/device"
)

// busy returns a function that keeps a stream busy for a while: what is enqueued behind that has not run when the host goes on.
func (r *rig) busy() func(s *device.Stream) {
	a, b := r.buffer(device.Float32, 1<<22), r.buffer(device.Float32, 1<<22)
	return func(s *device.Stream) {
		r.Helper()
		for range 4 {
			r.ok(s.Copy(a, b))
			r.ok(s.Copy(b, a))
		}
	}
}

// program runs many random operations, each on a random part of three buffers, and compares everything that was downloaded on
// the way, and what is left, with the same done on the host. Nothing waits for the stream before the end.
func program(dev *device.Device, s *device.Stream, seed byte, operations int) (err error) {
	const n = 50_000 // elements; the parts are small or large
	src := rand.NewChaCha8([32]byte{seed})
	rnd := rand.New(src)
	try := func(e error) {
		if err == nil {
			err = e
		}
	}
	var bufs [3]*device.Buffer
	var model [3][]float32
	var got, want [][]float32
	for i := range bufs {
		if bufs[i], err = dev.Alloc(device.Float32, n); err != nil {
			return err
		}
		model[i] = random[float32](src, n)
		try(device.Upload(s, bufs[i], slices.Clone(model[i])))
	}
	download := func(i, lo, hi int) {
		part, e := bufs[i].Slice(lo, hi)
		try(e)
		x := make([]float32, hi-lo)
		try(device.Download(s, x, part))
		got, want = append(got, x), append(want, slices.Clone(model[i][lo:hi]))
	}
	for range operations {
		size := 1 + rnd.IntN([]int{100, n}[rnd.IntN(2)])
		i, lo, j, lo2 := rnd.IntN(3), rnd.IntN(n-size+1), 1+rnd.IntN(2), rnd.IntN(n-size+1)
		j = (i + j) % 3
		to, e := bufs[i].Slice(lo, lo+size)
		try(e)
		from, e := bufs[j].Slice(lo2, lo2+size)
		try(e)
		here := model[i][lo : lo+size]
		switch rnd.IntN(4) {
		case 0:
			x := random[float32](src, size)
			try(device.Upload(s, to, x))
			copy(here, x)
		case 1:
			try(s.Copy(to, from))
			copy(here, model[j][lo2:])
		case 2:
			try(s.Zero(to))
			clear(here)
		case 3:
			download(i, lo, lo+size)
		}
	}
	for i := range bufs {
		download(i, 0, n)
	}
	try(s.Synchronize())
	for k := range got {
		if i := differ(got[k], want[k]); i >= 0 {
			try(fmt.Errorf("seed %d, download %d: element %d of %d is %x, want %x", seed, k, i, len(want[k]), raw(got[k][i:i+1]), raw(want[k][i:i+1])))
			break
		}
	}
	for _, b := range bufs {
		try(b.Close())
	}
	return err
}

func order(r *rig) {
	for seed := range byte(4) {
		r.ok(program(r.dev, r.s, seed, 300))
	}
}

// twoStreams passes one buffer from one stream to the other and back. Whoever does not wait for the other comes too early,
// because the other has more to do.
func twoStreams(r *rig) {
	const rounds, n = 6, 1000
	a, b, written, read := r.stream(), r.stream(), r.event(), r.event()
	x, busyA, busyB := r.buffer(device.Float64, n), r.busy(), r.busy()
	var in [rounds][]float64
	var out [rounds]*device.Buffer
	for k := range rounds {
		in[k], out[k] = random[float64](r.rnd, n), r.buffer(device.Float64, n)
		busyA(a)
		r.ok(device.Upload(a, x, in[k]))
		r.ok(a.Record(written))
		r.ok(b.Wait(written))
		busyB(b)
		r.ok(b.Copy(out[k], x))
		r.ok(b.Record(read))
		r.ok(a.Wait(read))
		r.ok(a.Zero(x))
	}
	for k := range rounds {
		same(r, contents[float64](r, b, out[k]), in[k], fmt.Sprintf("round %d", k))
	}
	same(r, contents[float64](r, a, x), make([]float64, n), "at the end")
}

// patience is how long an event may take to be done by itself.
var patience = 30 * time.Second

func events(r *rig) {
	s, start, middle, end, busy := r.stream(), r.event(), r.event(), r.event(), r.busy()
	_, done := end.Done()
	_, since := end.Since(start)
	refused(r, "before record", device.ErrNotRecorded, done, since, end.Synchronize(), s.Wait(end))
	began := time.Now()
	for _, e := range []*device.Event{start, middle, end} {
		busy(s)
		r.ok(s.Record(e))
	}
	_, since = start.Since(r.event())
	refused(r, "since what was not recorded", device.ErrNotRecorded, since)
	r.ok(end.Synchronize())
	for _, e := range []*device.Event{start, middle, end} {
		if !must(r, e.Done) {
			r.Fatalf("an event of the past is not done")
		}
	}
	half := must(r, func() (time.Duration, error) { return middle.Since(start) })
	whole := must(r, func() (time.Duration, error) { return end.Since(start) })
	if limit := time.Since(began) + 10*time.Millisecond; half < 0 || whole < half || limit < whole {
		r.Fatalf("want 0 ≤ %v ≤ %v ≤ %v, which is the host's time", half, whole, limit)
	}
	busy(s)
	r.ok(s.Record(end))
	for began = time.Now(); !must(r, end.Done); time.Sleep(time.Millisecond) { // and nobody waits for it
		if time.Since(began) > patience {
			r.Fatalf("an event is not done after %v", patience)
		}
	}
	if again := must(r, func() (time.Duration, error) { return end.Since(start) }); again < whole {
		r.Fatalf("recorded again after %v, the event is at %v", whole, again)
	}
}

// again records an event anew, and then closes it, while a stream still waits for what it was.
func again(r *rig) {
	a, b, e, f, busy := r.stream(), r.stream(), r.event(), r.event(), r.busy()
	x, y, old, young := r.buffer(device.Float32, 100), r.buffer(device.Float32, 100), random[float32](r.rnd, 100), random[float32](r.rnd, 100)
	r.ok(a.Record(e))
	busy(a)
	r.ok(device.Upload(a, x, old))
	r.ok(a.Record(e))
	r.ok(b.Wait(e)) // as it is now: when it is recorded next, a has waited for b
	r.ok(b.Copy(y, x))
	r.ok(b.Record(f))
	r.ok(a.Wait(f))
	r.ok(a.Zero(x))
	r.ok(a.Record(e))
	same(r, contents[float32](r, b, y), old, "copy between two records of an event")

	busy(a)
	r.ok(device.Upload(a, x, young))
	r.ok(a.Record(e))
	r.ok(b.Wait(e))
	r.ok(e.Close())
	r.ok(b.Copy(y, x))
	same(r, contents[float32](r, b, y), young, "copy behind a closed event")
}

// closeInUse closes what enqueued work still needs: the work comes first.
func closeInUse(r *rig) {
	const n = 300_000
	s, s2, busy, old := r.stream(), r.stream(), r.busy(), random[float32](r.rnd, n)
	x, y := r.buffer(device.Float32, n), r.buffer(device.Float32, n)
	r.ok(device.Upload(s, x, old))
	r.ok(s.Synchronize())
	busy(s)
	r.ok(s.Copy(y, x))
	r.ok(x.Close())
	r.ok(device.Upload(s2, r.buffer(device.Float32, n), random[float32](r.rnd, n))) // perhaps to x's memory
	r.ok(s2.Synchronize())
	got := random[float32](r.rnd, n)
	busy(s)
	r.ok(device.Download(s, got, y))
	r.ok(s.Close())
	same(r, got, old, "copy of a buffer that was closed right after")
}

func closeDevice(r *rig) {
	other, s, e, b, busy := r.open(), r.stream(), r.event(), r.buffer(device.Float32, 8), r.busy()
	part := r.slice(b, 0, 8)
	busy(s)
	r.ok(s.Record(e))
	r.ok(r.dev.Close())
	_, alloc := r.dev.Alloc(device.Float32, 0)
	_, stream := r.dev.NewStream()
	_, event := r.dev.NewEvent()
	_, _, info := r.dev.MemInfo()
	refused(r, "device", device.ErrClosed, alloc, stream, event, info, r.dev.Close())
	refused(r, "use", device.ErrClosed, uses(s, b, part, e)...)
	refused(r, "default stream", device.ErrClosed, append(uses(r.s, b, part, e), r.s.Synchronize(), r.s.Close())...)
	refused(r, "other calls", device.ErrClosed, closedCalls(s, b, e)...)
	r.ok(program(other, other.DefaultStream(), 7, 20)) // another device does not notice
}

// goroutines works from many goroutines, some with a stream of their own and some with one for all.
func goroutines(r *rig) {
	var wg sync.WaitGroup
	for i := range 12 {
		s := r.s
		if i%3 > 0 {
			s = r.stream()
		}
		wg.Go(func() {
			for k := range 3 {
				if err := program(r.dev, s, byte(16*k+i), 50); err != nil {
					r.Errorf("goroutine %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
}
