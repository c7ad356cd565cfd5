//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/rules"
)

// I19: a GPU that cannot run the kernels is refused when it is opened, not when an optimizer is made.
func TestOldGPU(t *testing.T) {
	emulate(t, emu.Config{})
	for _, c := range []struct {
		major, minor int32
		ok           bool
	}{{6, 1, false}, {3, 5, false}, {7, 0, true}, {12, 0, true}} {
		restore := driver.SetHook(func(e driver.Entry, args []uint64) (driver.Result, bool) {
			if e == driver.CuDeviceGetAttribute && (args[1] == 75 || args[1] == 76) {
				*driver.Pointer[int32](args[0]) = map[uint64]int32{75: c.major, 76: c.minor}[args[1]]
				return driver.Success, true
			}
			return 0, false
		})
		dev, err := Open(0)
		restore()
		if c.ok {
			require.NoError(t, err)
			require.NoError(t, dev.Close())
			continue
		}
		require.ErrorIs(t, err, device.ErrUnavailable)
		require.ErrorContains(t, err, "cuda:0: unavailable: Emulated GPU is too old: it has compute capability "+string(rune('0'+c.major))+"."+string(rune('0'+c.minor)))
	}
}

// C6: what is no memory is refused when it is wrapped; a kernel that used it would end the context.
func TestWrapRefused(t *testing.T) {
	_, dev := emulate(t, emu.Config{})
	var at cu.DevicePtr
	require.NoError(t, dev.gpu.do(func() (err error) { at, err = cu.MemAlloc(100); return err }))
	a := uint64(at)
	for _, c := range []struct {
		name    string
		t       device.DType
		n       int
		address uint64
		want    error
	}{
		{"all", device.Float32, 25, a, nil},
		{"the end", device.Float64, 1, a + 88, nil},
		{"two bytes", device.BFloat16, 49, a + 2, nil},
		{"nothing", device.Float32, 0, 0, nil},
		{"address 0", device.Float32, 1, 0, device.ErrRange},
		{"beyond", device.Float32, 26, a, device.ErrRange},
		{"far beyond", device.Float64, math.MaxInt / 64, a, device.ErrRange},
		{"behind", device.Float32, 1, a + 128, device.ErrRange},
		{"before", device.Float32, 2, a - 4, device.ErrRange},
		{"host memory", device.Float32, 1, 1 << 20, device.ErrRange},
		{"misaligned", device.Float32, 1, a + 2, device.ErrMisaligned},
		{"misaligned float64", device.Float64, 1, a + 4, device.ErrMisaligned},
		{"wrapping around", device.Float32, 8, math.MaxUint64 - 15, device.ErrRange},
		{"more bytes than there are", device.Float64, math.MaxInt, a, device.ErrRange},
		{"negative", device.Float32, -1, a, device.ErrRange},
		{"no type", 0, 1, a, device.ErrUnsupported},
	} {
		b, err := Wrap(dev, c.t, c.n, c.address)
		if c.want != nil {
			require.ErrorIs(t, err, c.want, c.name)
			require.Nil(t, b, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		require.NoError(t, dev.DefaultStream().Zero(b), c.name)
		require.NoError(t, dev.DefaultStream().Synchronize(), c.name)
		require.NoError(t, b.Close(), c.name)
	}
	require.NoError(t, dev.gpu.do(func() error { return cu.MemFree(at) }))
	_, err := Wrap(dev, device.Float32, 25, a)
	require.ErrorIs(t, err, device.ErrRange, "freed")
}

// I9: what is nil, zero or closed.
func TestZeroDevice(t *testing.T) {
	_, closed := emulate(t, emu.Config{})
	other, err := Open(0)
	require.NoError(t, err)
	defer other.Close()
	norm, err := closed.Compile(kernels.Work{Program: kernels.Norm()})
	require.NoError(t, err)
	total, err := kernels.NewControl(closed.Device())
	require.NoError(t, err)
	step := kernels.Step{Control: total}
	require.ErrorIs(t, norm.Enqueue(nil, step), device.ErrClosed)
	require.ErrorIs(t, norm.Enqueue(other.DefaultStream(), step), device.ErrForeign)
	require.NoError(t, norm.Close())
	gone, err := Open(0)
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	for name, d := range map[string]*Device{"nil": nil, "zero": {}, "closed": gone} {
		_, alloc := d.Alloc(device.Float32, 1)
		_, stream := d.NewStream()
		_, event := d.NewEvent()
		_, _, info := d.MemInfo()
		_, wrap := Wrap(d, device.Float32, 1, 256)
		_, compile := d.Compile(kernels.Work{})
		_, traffic := d.CompileTraffic(kernels.Work{})
		_, model := d.Model()
		for i, err := range []error{alloc, stream, event, info, wrap, compile, traffic, model, d.Close(), d.DefaultStream().Synchronize(), WrapStream(d, 1).Synchronize()} {
			require.ErrorIs(t, err, device.ErrClosed, "%s, call %d", name, i)
		}
	}
}

func settle(t *testing.T, enough func() bool, what string) {
	t.Helper()
	for began := time.Now(); !enough(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("%s: not within a minute", what)
		}
		runtime.GC()
	}
}

// work is an update of one tensor and a norm over it, which are never closed.
func work(t *testing.T, dev *Device, s *device.Stream) (kernels.Update, kernels.Step) {
	sgd := rules.SGDRule().With(rules.SGDHyper{LR: 0.5}, rules.SGDOptions{})
	buffer := func() *device.Buffer {
		b, err := dev.Alloc(device.Float32, 1000)
		require.NoError(t, err)
		require.NoError(t, s.Zero(b))
		return b
	}
	param, grad := buffer(), buffer()
	counters, err := dev.Alloc(device.Float64, len(sgd.Rule.Counters))
	require.NoError(t, err)
	p, err := kernels.New(kernels.SpecOf(sgd, device.Float32))
	require.NoError(t, err)
	u, err := dev.Compile(kernels.Work{Program: p, Tensors: []kernels.Tensor{{Planes: []*device.Buffer{param, grad}}}, Counters: []*device.Buffer{counters}})
	require.NoError(t, err)
	norm, err := dev.Compile(kernels.Work{Program: kernels.Norm(), Tensors: []kernels.Tensor{{Planes: []*device.Buffer{grad}}}})
	require.NoError(t, err)
	total, err := kernels.NewControl(dev.Device())
	require.NoError(t, err)
	require.NoError(t, norm.Enqueue(s, kernels.Step{Control: total}))
	g := kernels.GroupStepOf(sgd, sgd.Hyper)
	g.MaxNorm = 1
	return u, kernels.Step{Groups: []kernels.GroupStep{g}, Control: total}
}

// I8: devices, and what is on a device that stays, are given back when nobody reaches them, after the work on them.
func TestCollected(t *testing.T) {
	d, dev := emulate(t, emu.Config{})
	before := d.Live()
	for range 5 {
		s, err := dev.NewStream()
		require.NoError(t, err)
		u, step := work(t, dev, s)
		require.NoError(t, u.Enqueue(s, step)) // and nobody waits
		g, err := dev.Capture(func(s *device.Stream) error { return u.(kernels.Capturable).Launch(s, step) })
		require.NoError(t, err)
		require.NoError(t, s.Launch(g))
	}
	before.Modules = 2
	settle(t, func() bool { return d.Live() == before }, "updates without Close")
	for range 5 {
		other, err := Open(0)
		require.NoError(t, err)
		u, step := work(t, other, other.DefaultStream())
		require.NoError(t, u.Enqueue(other.DefaultStream(), step))
	}
	settle(t, func() bool { return d.Live() == before }, "devices without Close")
	require.Empty(t, d.Faults())
}

// C3: 2,000 steps that nobody waits for reach the device, of which 256 are under way at most, and so few uploads keep host memory.
func TestManySteps(t *testing.T) {
	d, dev := emulate(t, emu.Config{})
	s := dev.DefaultStream()
	u, step := work(t, dev, s)
	for i := range 2000 {
		waits := d.Calls()[driver.CuEventSynchronize]
		require.NoError(t, u.Enqueue(s, step))
		require.Equal(t, i >= inFlight, d.Calls()[driver.CuEventSynchronize] > waits, "step %d", i)
	}
	b, err := dev.Alloc(device.Float32, 1)
	require.NoError(t, err)
	held := func() int { // beside the garbage collector, which drains queues
		q := s.Queue().(*queue)
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.host)
	}
	for range 3 * inFlight {
		require.NoError(t, device.Upload(s, b, []float32{1}))
		require.LessOrEqual(t, held(), inFlight)
	}
	require.NoError(t, s.Synchronize())
	require.NoError(t, u.Close())
}

// C4: where the process may not have the memory, the emulator says so.
func TestLittleAddressSpace(t *testing.T) {
	if os.Getenv("FUSESTEP_TEST_LITTLE") != "" {
		defer emu.New(emu.Config{MemoryBytes: 1 << 40}).Install()()
		dev, err := Open(0)
		if err == nil {
			_, err = dev.Alloc(device.Float32, 1<<31)
		}
		if !errors.Is(err, device.ErrOutOfMemory) {
			t.Fatalf("got error %v, want %v", err, device.ErrOutOfMemory)
		}
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for _, kilobytes := range []string{"2000000", "8000000", "80000000"} { // less than the emulator reserves; and for a reservation that is smaller
		c := exec.Command("sh", "-c", "ulimit -v "+kilobytes+"; exec \"$0\" -test.run '^TestLittleAddressSpace$'", self)
		c.Env = append(os.Environ(), "FUSESTEP_TEST_LITTLE=1")
		out, err := c.CombinedOutput()
		if strings.Contains(string(out), "race detector") || strings.Contains(string(out), "ThreadSanitizer") {
			t.Skip("the race detector itself needs more")
		}
		require.NoError(t, err, "ulimit -v %s: %s", kilobytes, out)
	}
}
