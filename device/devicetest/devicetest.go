// Package devicetest holds a backend to the contract of package device. A backend's test is
//
//	devicetest.Run(t, func(t *testing.T) *device.Device { return cpu.New().Device() })
//
// The checks take nothing for granted that the contract does not give: work may be put off until somebody waits for it, host
// memory may be read at the last moment, fresh memory may hold anything.
package devicetest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/fusestep/fusestep/device"
)

var checks = []struct {
	name string
	run  func(r *rig)
}{
	{"alloc", alloc},
	{"alloc refused", allocRefused},
	{"move float32", move[float32](device.Float32)},
	{"move float64", move[float64](device.Float64)},
	{"move bfloat16", move[uint16](device.BFloat16)},
	{"move float16", move[uint16](device.Float16)},
	{"move int16", move[int16](device.Int16)},
	{"move int8", move[int8](device.Int8)},
	{"refuse arguments", refuseArguments},
	{"refuse closed and foreign", refuseObjects},
	{"order of a stream", order},
	{"two streams", twoStreams},
	{"events", events},
	{"event recorded again", again},
	{"capture", capture},
	{"close what is in use", closeInUse},
	{"close the device", closeDevice},
	{"many goroutines", goroutines},
}

// Run checks the devices that open makes: a device of its own at each call, some of them at the same time. Each part of the
// contract is a subtest, and its devices are closed at its end. What open gives to t.Cleanup, such as a search for
// leaks, runs after that.
func Run(t *testing.T, open func(t *testing.T) *device.Device) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(newRig(t, func() *device.Device { return open(t) })) })
	}
}

// rig is a device under test, and what the checks do to it all the time.
type rig struct {
	testing.TB
	open func() *device.Device
	dev  *device.Device
	s    *device.Stream // the default stream
	rnd  *rand.ChaCha8
}

func newRig(t testing.TB, open func() *device.Device) *rig {
	r := &rig{TB: t, rnd: rand.NewChaCha8([32]byte{})}
	r.open = func() *device.Device {
		dev := open()
		t.Cleanup(func() {
			if err := dev.Close(); err != nil && !errors.Is(err, device.ErrClosed) {
				t.Errorf("close: %v", err)
			}
		})
		return dev
	}
	r.dev = r.open()
	r.s = r.dev.DefaultStream()
	return r
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func must[V any](r *rig, f func() (V, error)) V {
	r.Helper()
	v, err := f()
	r.ok(err)
	return v
}

func (r *rig) stream() *device.Stream { r.Helper(); return must(r, r.dev.NewStream) }
func (r *rig) event() *device.Event   { r.Helper(); return must(r, r.dev.NewEvent) }

func (r *rig) buffer(dtype device.DType, n int) *device.Buffer {
	r.Helper()
	return must(r, func() (*device.Buffer, error) { return r.dev.Alloc(dtype, n) })
}

func (r *rig) slice(b *device.Buffer, i, j int) *device.Buffer {
	r.Helper()
	return must(r, func() (*device.Buffer, error) { return b.Slice(i, j) })
}

// random is n elements of any bits, so NaNs, infinities and subnormals too.
func random[T device.Element](rnd *rand.ChaCha8, n int) []T {
	x := make([]T, n)
	_, _ = rnd.Read(raw(x)) // never fails
	return x
}

func raw[T device.Element](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(T(0))))
}

// differ is the first element of got that has not want's bits, or -1.
func differ[T device.Element](got, want []T) int {
	if bytes.Equal(raw(got), raw(want)) {
		return -1
	}
	for i := range want {
		if !bytes.Equal(raw(got[i:i+1]), raw(want[i:i+1])) {
			return i
		}
	}
	return -1
}

func same[T device.Element](r *rig, got, want []T, what string) {
	r.Helper()
	if i := differ(got, want); i >= 0 {
		r.Fatalf("%s: element %d of %d is %x (%v), want %x (%v)", // the bits as they lie in memory
			what, i, len(want), raw(got[i:i+1]), got[i], raw(want[i:i+1]), want[i])
	}
}

// contents downloads a buffer and waits for the stream, and for what the stream waits for.
func contents[T device.Element](r *rig, s *device.Stream, b *device.Buffer) []T {
	r.Helper()
	x := random[T](r.rnd, b.Len())
	r.ok(device.Download(s, x, b))
	r.ok(s.Synchronize())
	return x
}
