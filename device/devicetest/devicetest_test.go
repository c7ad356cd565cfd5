package devicetest

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
)

// A processor that does everything at the last moment keeps the contract, so the suite must not ask for more.
func TestLate(t *testing.T) {
	Run(t, func(t *testing.T) *device.Device { return open(t, newLate("")) })
}

func open(t testing.TB, d device.Processor) *device.Device {
	dev, err := device.New("test", d)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func eager(fault string) device.Processor {
	dev := cpu.NewThreads(2).Device()
	return &broken{dev.Processor(), fault, dev}
}
func lazy(fault string) device.Processor { return &broken{newLate(fault), fault, nil} }

// TestFaults breaks processors in one way each. The check named must fail.
func TestFaults(t *testing.T) {
	patience = time.Second
	t.Cleanup(func() { patience = 30 * time.Second })
	both := map[string]func(string) device.Processor{"eager": eager, "lazy": lazy}
	onlyLazy := map[string]func(string) device.Processor{"lazy": lazy}
	for _, f := range []struct {
		fault, check string
		processors   map[string]func(string) device.Processor
		racy         bool
	}{
		{"copy a byte short", "move float32", both, false},
		{"copy a byte too long", "move bfloat16", both, false},
		{"copy to the start", "move float64", both, false},
		{"upload dropped", "move float16", both, false},
		{"upload a byte early", "move float32", both, false},
		{"download dropped", "move float32", both, false},
		{"zero dropped", "move float64", both, false},
		{"zero a byte too long", "move bfloat16", both, false},
		{"zero dropped", "order of a stream", both, false},
		{"copy to the start", "many goroutines", both, false},
		{"synchronize does not wait", "order of a stream", onlyLazy, false},
		{"wait dropped", "two streams", both, true},
		{"second record dropped", "two streams", both, true},
		{"second record dropped", "event recorded again", both, true},
		{"never done", "events", both, false},
		{"time negative", "events", both, false},
		{"time in the wrong unit", "events", both, false},
		{"unaligned memory", "alloc", onlyLazy, false},
		{"memory given twice", "alloc", onlyLazy, false},
		{"alloc of too much", "alloc refused", onlyLazy, false},
		{"last in, first out", "order of a stream", onlyLazy, false},
		{"free does not wait", "close what is in use", onlyLazy, false},
		{"wait for a later record", "event recorded again", onlyLazy, false},
		{"wait for a closed event dropped", "event recorded again", onlyLazy, false},
	} {
		for name, processor := range f.processors {
			t.Run(fmt.Sprintf("%s, %s, %s", f.fault, f.check, name), func(t *testing.T) {
				if f.racy && raceDetector && name == "eager" {
					t.Skip("the fault is a data race, and the detector would report it")
				}
				for _, c := range checks {
					if c.name != f.check {
						continue
					}
					failures := record(t, func(tb testing.TB) {
						c.run(newRig(tb, func() *device.Device { return open(t, processor(f.fault)) }))
					})
					if len(failures) == 0 {
						t.Fatalf("check %q did not notice: %s", f.check, f.fault)
					}
					t.Log(failures[0])
					return
				}
				t.Fatalf("there is no check %q", f.check)
			})
		}
	}
}

// recorder keeps failures to itself.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

// record runs f and returns its failures.
func record(t testing.TB, f func(testing.TB)) []string {
	r := &recorder{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() { f(r) })
	wg.Wait()
	return r.failures
}

// broken is a processor with a fault on top.
type broken struct {
	device.Processor
	fault string
	of    *device.Device // which would close the processor if it were collected
}

func (d *broken) NewQueue() (device.Queue, error) {
	q, err := d.Processor.NewQueue()
	return &brokenQueue{q, d.fault}, err
}

func (d *broken) NewMarker() (device.Marker, error) {
	m, err := d.Processor.NewMarker()
	return &brokenMarker{Marker: m, fault: d.fault}, err
}

type brokenQueue struct {
	device.Queue
	fault string
}

func (q *brokenQueue) Upload(dst device.Span, src []byte) error {
	switch q.fault {
	case "upload dropped":
		return nil
	case "upload a byte early":
		dst.Off = max(dst.Off-1, 0)
	}
	return q.Queue.Upload(dst, src)
}

func (q *brokenQueue) Download(dst []byte, src device.Span) error {
	if q.fault == "download dropped" {
		return nil
	}
	return q.Queue.Download(dst, src)
}

func (q *brokenQueue) Copy(dst, src device.Span) error {
	switch q.fault {
	case "copy a byte short":
		dst.N, src.N = dst.N-1, src.N-1
	case "copy a byte too long":
		dst.N, src.N = dst.N+1, src.N+1
	case "copy to the start":
		dst.Off = 0
	}
	return q.Queue.Copy(dst, src)
}

func (q *brokenQueue) Zero(dst device.Span) error {
	switch q.fault {
	case "zero dropped":
		return nil
	case "zero a byte too long":
		dst.N++
	}
	return q.Queue.Zero(dst)
}

func (q *brokenQueue) Synchronize() error {
	if q.fault == "synchronize does not wait" {
		return nil
	}
	return q.Queue.Synchronize()
}

func (q *brokenQueue) Record(m device.Marker) error {
	b := m.(*brokenMarker)
	if q.fault == "second record dropped" && b.recorded {
		return nil
	}
	b.recorded = true
	return q.Queue.Record(b.Marker)
}

func (q *brokenQueue) Wait(m device.Marker) error {
	if q.fault == "wait dropped" {
		return nil
	}
	return q.Queue.Wait(m.(*brokenMarker).Marker)
}

type brokenMarker struct {
	device.Marker
	fault    string
	recorded bool
}

func (m *brokenMarker) Done() (bool, error) {
	if m.fault == "never done" {
		return false, nil
	}
	return m.Marker.Done()
}

func (m *brokenMarker) Since(start device.Marker) (time.Duration, error) {
	t, err := m.Marker.Since(start.(*brokenMarker).Marker)
	switch m.fault {
	case "time negative":
		t = -t
	case "time in the wrong unit":
		t *= 1000
	}
	return t, err
}
