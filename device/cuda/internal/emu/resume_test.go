//go:build cuda && cgo && linux

package emu_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/optim"
	"github.com/fusestep/fusestep/optim/checkpoint"
)

var soak = flag.Int("soak", 0, "how many steps TestSoakResumed takes; 0 is some thousands")

// resumed is a training whose steps depend on the optimizer's state alone: its gradients follow from the number of the step.
type resumed struct {
	b        optim.Backend
	stream   *device.Stream
	opt      *optim.Optimizer // nil where it could not be made
	params   []optim.Param
	gradient []float32
	taken    int // steps
	unclosed int // optimizers whose Close failed
}

func newResumed(t *testing.T, b optim.Backend) *resumed {
	x := &resumed{b: b, stream: b.Device().DefaultStream(), gradient: make([]float32, 30)}
	for i := range x.gradient {
		x.gradient[i] = float32(math.Sin(float64(i)))
	}
	for i, dtype := range []device.DType{device.Float32, device.BFloat16, device.BFloat16} {
		value, err := b.Device().Alloc(dtype, len(x.gradient))
		require.NoError(t, err)
		grad, err := b.Device().Alloc(device.Float16, len(x.gradient))
		require.NoError(t, err)
		x.params = append(x.params, optim.Param{Name: string(rune('a' + i)), Value: value, Grad: grad})
	}
	require.NoError(t, x.renew())
	return x
}

// renew makes the optimizer a new one, as another process does.
func (x *resumed) renew() error {
	closed := func(o *optim.Optimizer) error {
		err := o.Close()
		if err != nil {
			x.unclosed++
		}
		return err
	}
	if x.opt != nil {
		err := closed(x.opt)
		if x.opt = nil; err != nil {
			return err
		}
	}
	start := make([]float32, len(x.gradient))
	for _, p := range x.params {
		if err := device.UploadFloats(x.stream, p.Value, start); err != nil {
			return err
		}
	}
	sgd := optim.DefaultSGD()
	sgd.Momentum = 0.9
	scaler := optim.DefaultGradScaler()
	scaler.GrowthInterval = 50
	o, err := optim.New(x.b, optim.DefaultAdamW(), x.params[:1])
	if err != nil {
		return err
	}
	for _, f := range []func() error{
		func() error {
			return o.AddGroup(optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16, Stochastic: true, Seed: 7}, x.params[1:2])
		},
		func() error {
			return o.AddGroup(optim.Averaged{Algorithm: optim.Stored{Algorithm: sgd, Master: optim.MasterRemainder}, Decay: 0.99}, x.params[2:])
		},
		func() error { return o.SetSchedule(optim.Warmup{Steps: 100, Then: optim.InverseSqrt{Timescale: 1000}}) },
		func() error { return o.SetClipNorm(1) },
		func() error { return o.SetGradScaler(x.stream, &scaler) },
	} {
		if err := f(); err != nil {
			return errors.Join(err, closed(o))
		}
	}
	x.opt = o
	return nil
}

// step takes the next one, of which every 31st overflows, and waits for it.
func (x *resumed) step() error {
	k := x.opt.Steps()
	if x.gradient[0] = float32(k % 7); k%31 == 30 {
		x.gradient[0] = float32(math.Inf(1))
	}
	for _, p := range x.params {
		if err := device.UploadFloats(x.stream, p.Grad, x.gradient); err != nil {
			return err
		}
	}
	x.taken++
	return errors.Join(x.opt.Step(x.stream), x.stream.Synchronize())
}

// digest is of all that later steps depend on.
func (x *resumed) digest() (sum [sha256.Size]byte, err error) {
	d, err := x.opt.StateDict(x.stream)
	if err != nil {
		return sum, err
	}
	all, err := json.Marshal(d)
	for _, tensor := range d.Tensors() {
		for _, n := range tensor.Numbers {
			b := make([]byte, n.Len*n.DType.Size())
			err = errors.Join(err, n.Read(0, b))
			all = append(all, b...)
		}
	}
	return sha256.Sum256(all), err
}

func (x *resumed) close(t *testing.T) {
	require.NoError(t, x.opt.Close())
	for _, p := range x.params {
		require.NoError(t, errors.Join(p.Value.Close(), p.Grad.Close()))
	}
}

// TestSoakResumed takes many steps while calls of the driver fail, in steps, saves, loads and when an optimizer is made, and while files cannot be
// written. After each fault the training goes on from its last checkpoint. In the end the bits must be those of a training on a CPU to which nothing
// happened; on the way neither the driver's things nor files, goroutines and memory must become more.
func TestSoakResumed(t *testing.T) {
	steps := max(*soak, 1000)
	if testing.Short() {
		steps = 300
	}
	gap := max(15, steps/5000) // between saves, on average
	processor := cpu.New()
	undisturbed := newResumed(t, processor)
	for undisturbed.opt.Steps() < steps {
		require.NoError(t, undisturbed.step())
	}
	want, err := undisturbed.digest()
	require.NoError(t, err)
	undisturbed.close(t)
	require.NoError(t, processor.Close())

	d := install(t, emu.Config{})
	dev := open(t)
	x := newResumed(t, dev)
	dir := checkpoint.Dir{Path: filepath.Join(t.TempDir(), "run"), Keep: 2}
	_, err = dir.Save(x.opt, x.stream)
	require.NoError(t, err)
	var entries []driver.Entry
	for e := range d.Calls() {
		if !ends[e] && e != driver.CuCtxGetCurrent && e != driver.CuInit {
			entries = append(entries, e)
		}
	}
	slices.Sort(entries)

	rng := rand.New(rand.NewPCG(1, 2))
	faults, unwritten, saves, loads := map[string]int{}, 0, 0, 0
	ours := func(what string, err error) {
		faults[what]++
		require.ErrorIs(t, err, driver.ErrorUnknown, what)
	}
	inject := func(chance int) {
		if rng.IntN(chance) == 0 {
			d.Fail(entries[rng.IntN(len(entries))], 1+rng.IntN(20), driver.ErrorUnknown)
		}
	}
	var first, last held
	back := func(again, look bool) { // to the latest checkpoint, in a new optimizer where there is none
		loads++
		inject(2)
		for {
			if x.opt == nil || again {
				if err := x.renew(); err != nil {
					ours("new", err)
					continue
				}
				again = false
			}
			if look {
				last, look = hold(d), false
			}
			_, damaged, err := dir.Load(x.opt, x.stream, optim.LoadOptions{})
			require.Empty(t, damaged)
			if err == nil {
				return
			}
			ours("load", err)
		}
	}
	for tenths := 0; x.opt.Steps() < steps; {
		inject(4 * gap)
		if err := x.step(); err != nil {
			ours("step", err)
			back(rng.IntN(2) == 0, false)
		}
		switch rng.IntN(3 * gap) {
		case 0, 1:
			saves++
			gone := rng.IntN(3) == 0
			if gone { // a file is in the folder's place
				require.NoError(t, os.Rename(dir.Path, dir.Path+"-gone"))
				require.NoError(t, os.WriteFile(dir.Path, nil, 0o600))
			}
			_, err := dir.Save(x.opt, x.stream)
			if gone {
				require.NoError(t, os.Remove(dir.Path))
				require.NoError(t, os.Rename(dir.Path+"-gone", dir.Path))
			}
			if errors.Is(err, syscall.ENOTDIR) {
				unwritten++
			} else if err != nil {
				ours("save", err)
			}
		case 2:
			back(rng.IntN(2) == 0, false)
		}
		if now := 10 * x.opt.Steps() / steps; now > tenths {
			tenths = now
			back(true, true)
			if now == 2 { // when all has happened once
				first = last
			}
		}
	}
	got, err := x.digest()
	for err != nil {
		ours("state dict", err)
		got, err = x.digest()
	}
	require.Equal(t, want, got)
	t.Logf("%d steps for %d; %d saves, %d of them where a file was in the folder's place; %d loads; faults of the driver: %v; %d optimizers not closed; at a fifth %+v, at the end %+v",
		x.taken, steps, saves, unwritten, loads, faults, x.unclosed, first, last)
	require.Positive(t, unwritten)
	if !testing.Short() {
		for _, what := range []string{"new", "load", "save", "step"} {
			require.Positive(t, faults[what], what)
		}
	}
	remembered := last.allocated - first.allocated // by the emulator, of each allocation that was freed, in KiB: it never gives out an address again
	require.LessOrEqual(t, last.heap, first.heap+512+remembered/5)
	require.LessOrEqual(t, last.goroutines, first.goroutines)
	require.Equal(t, first.files, last.files)
	require.LessOrEqual(t, last.live.Bytes, first.live.Bytes+1024*uint64(x.unclosed))
	last.live.Bytes = first.live.Bytes
	left := last.live.Allocations + last.live.Host - first.live.Allocations - first.live.Host
	require.LessOrEqual(t, left, x.unclosed, "left, beside what could not be waited for when it was closed, which the device's Close gives back")
	last.live.Allocations, last.live.Host = first.live.Allocations, first.live.Host
	require.Equal(t, first.live, last.live)
	require.Empty(t, d.Faults())
	x.close(t)
	require.NoError(t, dev.Close())
}

// held is what there is: KiB of the Go heap, goroutines, open files and the driver's things; and how many allocations there have been.
type held struct {
	heap, goroutines, files, allocated int
	live                               emu.Live
}

func hold(d *emu.Driver) held {
	runtime.GC()
	runtime.GC() // what cleanups of the first have let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, _ := os.ReadDir("/proc/self/fd")
	goroutines := runtime.NumGoroutine()
	for range 20 { // some are about to end
		time.Sleep(time.Millisecond)
		goroutines = min(goroutines, runtime.NumGoroutine())
	}
	return held{int(m.HeapAlloc >> 10), goroutines, len(files), d.Calls()[driver.CuMemAlloc], d.Live()}
}
