package checkpoint

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
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

var soak = flag.Int("soak", 0, "how many steps TestSoak takes; 0 is some thousands")

// soaked is a training whose steps depend on the optimizer's state alone: its gradients follow from the number of the step.
type soaked struct {
	*optim.Optimizer
	dev             *cpu.Device
	params          []optim.Param
	start, gradient []float32
	taken           int // steps
}

func newSoaked(t *testing.T) *soaked {
	x := &soaked{dev: cpu.New()}
	for i := range 100 {
		x.start = append(x.start, float32(math.Sin(float64(i))))
	}
	x.gradient = slices.Clone(x.start)
	for i, dtype := range []device.DType{device.Float32, device.BFloat16, device.BFloat16} {
		value, err := x.dev.Alloc(dtype, len(x.start))
		require.NoError(t, err)
		grad, err := x.dev.Alloc(device.Float16, len(x.start))
		require.NoError(t, err)
		x.params = append(x.params, optim.Param{Name: string(rune('a' + i)), Value: value, Grad: grad})
	}
	x.renew(t)
	return x
}

// renew makes the optimizer a new one, as another process does, on values as they are in the beginning.
func (x *soaked) renew(t *testing.T) {
	if x.Optimizer != nil {
		require.NoError(t, x.Close())
	}
	for _, p := range x.params {
		require.NoError(t, device.UploadFloats(x.dev.DefaultStream(), p.Value, x.start))
	}
	sgd := optim.DefaultSGD()
	sgd.Momentum = 0.9
	var err error
	x.Optimizer, err = optim.New(x.dev, optim.DefaultAdamW(), x.params[:1])
	require.NoError(t, err)
	require.NoError(t, x.AddGroup(optim.Stored{Algorithm: optim.DefaultAdamW(), All: device.BFloat16, Stochastic: true, Seed: 7}, x.params[1:2]))
	require.NoError(t, x.AddGroup(optim.Averaged{Algorithm: optim.Stored{Algorithm: sgd, Master: optim.MasterRemainder}, Decay: 0.99}, x.params[2:]))
	scaler := optim.DefaultGradScaler()
	scaler.GrowthInterval = 50
	require.NoError(t, errors.Join(x.SetSchedule(optim.Warmup{Steps: 100, Then: optim.InverseSqrt{Timescale: 1000}}), x.SetClipNorm(1), x.SetGradScaler(nil, &scaler)))
}

// step takes the next one, of which every 31st overflows.
func (x *soaked) step(t *testing.T) {
	k := x.Steps()
	x.gradient[0] = float32(k % 7)
	if k%31 == 30 {
		x.gradient[0] = float32(math.Inf(1))
	}
	for _, p := range x.params {
		require.NoError(t, device.UploadFloats(x.dev.DefaultStream(), p.Grad, x.gradient))
	}
	require.NoError(t, x.Step(nil))
	x.taken++
}

// back goes back to what is in the folder, whose latest is of so many steps.
func (x *soaked) back(t *testing.T, dir Dir, sys *failing, steps int) {
	dir.system = sys
	_, damaged, err := dir.Load(x.Optimizer, nil, optim.LoadOptions{})
	if err != nil || len(damaged) > 0 {
		require.NotEmpty(t, sys.failed, "%v %v", err, damaged)
		dir.system = nil
		_, damaged, err = dir.Load(x.Optimizer, nil, optim.LoadOptions{})
	}
	require.NoError(t, err)
	require.Empty(t, damaged)
	require.Equal(t, steps, x.Steps())
}

// digest is of all that later steps depend on.
func (x *soaked) digest(t *testing.T) [sha256.Size]byte {
	d, err := x.StateDict(nil)
	require.NoError(t, err)
	all, err := json.Marshal(d)
	require.NoError(t, err)
	for _, tensor := range d.Tensors() {
		for _, n := range tensor.Numbers {
			b := make([]byte, n.Len*n.DType.Size())
			require.NoError(t, n.Read(0, b))
			all = append(all, b...)
		}
	}
	return sha256.Sum256(all)
}

// held is what a process has: in KiB the Go heap and, where Linux tells, resident memory; goroutines, and open files.
type held struct{ heap, resident, goroutines, files int }

func hold() (h held) {
	runtime.GC()
	debug.FreeOSMemory() // collects what cleanups of the first have let go, and keeps nothing for later
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h = held{heap: int(m.HeapAlloc >> 10), goroutines: runtime.NumGoroutine()}
	for range 20 { // some are about to end
		time.Sleep(time.Millisecond)
		h.goroutines = min(h.goroutines, runtime.NumGoroutine())
	}
	text, _ := os.ReadFile("/proc/self/statm")
	if f := strings.Fields(string(text)); len(f) > 1 {
		pages, _ := strconv.Atoi(f[1])
		h.resident = pages * os.Getpagesize() >> 10
	}
	files, _ := os.ReadDir("/proc/self/fd")
	h.files = len(files)
	return h
}

// TestSoak takes many steps, and saves and loads in between, into the same optimizer and new ones, while calls of the disk fail. In the end the bits must
// be those of a training to which nothing happened; on the way memory, goroutines and files must not become more.
func TestSoak(t *testing.T) {
	steps := max(*soak, 3000)
	if testing.Short() {
		steps = 1000
	}
	gap := max(30, steps/5000) // between saves, on average
	undisturbed := newSoaked(t)
	for undisturbed.Steps() < steps {
		undisturbed.step(t)
	}
	want := undisturbed.digest(t)
	require.NoError(t, undisturbed.Close())

	rng := rand.New(rand.NewPCG(1, 2))
	fault := func() *failing { // some of them come too late for the call that is made
		if rng.IntN(2) == 0 {
			return &failing{}
		}
		return &failing{at: 1 + rng.IntN(40), how: way(rng.IntN(int(ways)))}
	}
	x := newSoaked(t)
	dir := Dir{Path: filepath.Join(t.TempDir(), "run"), Keep: 2}
	_, err := dir.Save(x.Optimizer, nil)
	require.NoError(t, err)
	latest := 0 // that the folder has
	saves, saveFaults, loads, loadFaults := 0, 0, 0, 0
	var first, last held
	for tenths := 0; x.Steps() < steps; {
		x.step(t)
		switch rng.IntN(4 * gap) {
		case 0, 1: // beside training
			saves++
			sys := fault()
			saver := Saver{Dir: dir}
			saver.Dir.system = sys
			at := x.Steps()
			require.NoError(t, saver.Save(x.Optimizer, nil))
			for range min(3, steps-x.Steps()) {
				x.step(t)
			}
			latest = latestAfter(t, saver.Wait(), at, latest, &saveFaults)
		case 2:
			saves++
			sys := fault()
			dir := dir
			dir.system = sys
			_, err := dir.Save(x.Optimizer, nil)
			latest = latestAfter(t, err, x.Steps(), latest, &saveFaults)
		case 3:
			loads++
			if rng.IntN(2) == 0 {
				x.renew(t)
			}
			sys := fault()
			x.back(t, dir, sys, latest)
			if sys.failed != "" {
				loadFaults++
			}
		}
		if now := 10 * x.Steps() / steps; now > tenths {
			if tenths, last = now, hold(); now == 2 { // when all has happened once
				first = last
			}
		}
	}
	require.Equal(t, want, x.digest(t))
	t.Logf("%d steps for %d; %d saves, %d of them with an error; %d loads, %d of them with a fault; at a fifth %+v, at the end %+v",
		x.taken, steps, saves, saveFaults, loads, loadFaults, first, last)
	require.Positive(t, saveFaults)
	require.Positive(t, loadFaults)
	require.LessOrEqual(t, last.heap, first.heap+512)
	require.LessOrEqual(t, last.resident, first.resident+24<<10)
	require.LessOrEqual(t, last.goroutines, first.goroutines)
	require.Equal(t, first.files, last.files)
	require.NoError(t, x.Close())
}

// latestAfter is the latest step that the folder has after a save of a step that ended with an error or none.
func latestAfter(t *testing.T, err error, at, latest int, faults *int) int {
	if err == nil {
		return at
	}
	*faults++
	e, ok := errors.AsType[*SaveError](err)
	require.True(t, ok, "%v", err)
	if e.New {
		return at
	}
	return latest
}
