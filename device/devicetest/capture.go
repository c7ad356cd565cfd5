package devicetest

import (
	"errors"

	"github.com/fusestep/fusestep/device"
)

// capture records work and runs it. A device that records nothing says so.
func capture(r *rig) {
	const n = 1000
	a, b, c := r.buffer(device.Float32, n), r.buffer(device.Float32, n), r.buffer(device.Float32, n)
	first, second, host := random[float32](r.rnd, n), random[float32](r.rnd, n), make([]float32, n)
	var kept *device.Stream
	g, err := r.dev.Capture(func(s *device.Stream) error {
		kept = s
		r.ok(s.Copy(b, a))
		r.ok(s.Zero(a))
		r.ok(s.Copy(c, b))
		return nil
	})
	if errors.Is(err, device.ErrUnsupported) {
		if g != nil || kept != nil {
			r.Errorf("capture is not supported, and yet work was called or a graph made")
		}
		return
	}
	r.ok(err)
	refused(r, "a capture's stream, afterwards", device.ErrClosed, kept.Copy(b, a), kept.Synchronize(), kept.Close())

	r.ok(device.Upload(r.s, a, first))
	r.ok(device.Upload(r.s, c, second))
	same(r, contents[float32](r, r.s, a), first, "recorded, and not run")
	same(r, contents[float32](r, r.s, c), second, "recorded, and not run")
	r.ok(r.s.Launch(g))
	same(r, contents[float32](r, r.s, a), make([]float32, n), "zeroed by a launch")
	same(r, contents[float32](r, r.s, c), first, "copied by a launch")
	s := r.stream()
	r.ok(device.Upload(s, a, second))
	r.ok(s.Launch(g))
	r.ok(device.Upload(s, a, first))
	r.ok(s.Launch(g))
	r.ok(g.Close()) // what is enqueued runs
	same(r, contents[float32](r, s, c), first, "the last of two launches")

	refused(r, "closed graph", device.ErrClosed, s.Launch(g), g.Close())
	refused(r, "nil graph", device.ErrClosed, s.Launch(nil), (*device.Graph)(nil).Close())
	refused(r, "nil stream", device.ErrClosed, (*device.Stream)(nil).Launch(g))
	other := r.open()
	nothing := must(r, func() (*device.Graph, error) { return other.Capture(func(*device.Stream) error { return nil }) })
	refused(r, "of another device", device.ErrForeign, s.Launch(nothing))
	r.ok(other.DefaultStream().Launch(nothing))
	r.ok(other.Close())
	_, gone := other.Capture(func(*device.Stream) error { return nil })
	refused(r, "closed device", device.ErrClosed, nothing.Close(), gone)

	for what, work := range map[string]func(s *device.Stream) error{
		"upload":   func(s *device.Stream) error { return device.Upload(s, a, first) },
		"download": func(s *device.Stream) error { return device.Download(s, host, a) },
	} {
		_, err := r.dev.Capture(work)
		refused(r, what+" in a capture", device.ErrUnsupported, err)
	}
	mine := errors.New("mine")
	_, err = r.dev.Capture(func(s *device.Stream) error { r.ok(s.Zero(c)); return mine })
	refused(r, "work's error", mine, err)
	for what, work := range map[string]func(s *device.Stream) error{
		"waits":  (*device.Stream).Synchronize,
		"closes": (*device.Stream).Close,
	} {
		if _, err := r.dev.Capture(work); err == nil {
			r.Errorf("a capture that %s did not fail", what)
		}
	}
	if _, err := r.dev.Capture(func(s *device.Stream) error { _ = s.Synchronize(); return nil }); err == nil {
		r.Errorf("a capture that waits did not fail, where its work did not say so")
	}
	same(r, contents[float32](r, s, c), first, "after captures that failed")

	r.ok(device.Upload(s, a, second))
	late := must(r, func() (*device.Graph, error) { // beside others, who allocate, wait and close
		return r.dev.Capture(func(s *device.Stream) error {
			done := make(chan error)
			go func() {
				x, err := r.dev.Alloc(device.Float32, n)
				done <- errors.Join(err, r.s.Synchronize(), x.Close())
			}()
			return errors.Join(<-done, s.Copy(c, a))
		})
	})
	r.ok(s.Launch(late))
	same(r, contents[float32](r, s, c), second, "captured beside others")
}
