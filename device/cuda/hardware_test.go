//go:build cuda && cgo && linux

package cuda_test

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/devicetest"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
	"github.com/fusestep/fusestep/optim"
)

// The tests of this file are for a real GPU: the one that FUSESTEP_DEVICE names, the first if it is not set. Without one they
// are skipped, or fail if REQUIRE_GPU is set. FUSESTEP_DEVICE=emu tries the tests themselves; the emulated driver then stays in
// front of the real one, so other tests must not run beside them: -run '^TestHardware'.

// hardware opens the device.
func hardware(t *testing.T) *gpu.Device {
	name := cmp.Or(os.Getenv("FUSESTEP_DEVICE"), "cuda")
	if name == "cpu" {
		t.Fatal("FUSESTEP_DEVICE is cpu: must be cuda, cuda:N or emu")
	}
	required := os.Getenv("REQUIRE_GPU") != ""
	d, err := gpu.Open(name)
	switch {
	case errors.Is(err, device.ErrUnavailable) && !required:
		t.Skipf("no GPU to test: %v", err)
	case err != nil:
		t.Fatalf("no GPU to test: %v", err)
	case d.Emulated && required:
		t.Fatal("REQUIRE_GPU is set and FUSESTEP_DEVICE is emu, which is none")
	}
	return d
}

// named skips the test where there is no GPU, and says which there is. It keeps it open to the test's end: what opens it again
// meanwhile finds its context made.
func named(t *testing.T) {
	d := hardware(t)
	t.Logf("%s: %s", d.Device().Name(), d.Model)
	t.Cleanup(func() { require.NoError(t, d.Device().Close()) })
}

func TestHardwareDevice(t *testing.T) {
	named(t)
	devicetest.Run(t, func(t *testing.T) *device.Device { return hardware(t).Device() })
}

func TestHardwareKernels(t *testing.T) {
	named(t)
	kerneltest.Run(t, optim.Rules(), func(t *testing.T) kernels.Backend { return hardware(t) })
}

// TestHardwareSteps trains the same parameters on the GPU and on the CPU, in two groups, with clipping and a schedule, and on a
// stream of its own, and holds every parameter and all state to the same bits.
func TestHardwareSteps(t *testing.T) {
	trainings(t, func(_ *testing.T, o *optim.Optimizer, s *device.Stream) func() error {
		return func() error { return o.Step(s) }
	})
}

// TestHardwareReplay is TestHardwareSteps with steps that are captured before the first one and replayed.
func TestHardwareReplay(t *testing.T) {
	trainings(t, func(t *testing.T, o *optim.Optimizer, s *device.Stream) func() error {
		captured, err := o.Capture(s)
		require.NoError(t, err)
		return func() error { return captured.Replay(s) }
	})
}

// stepper makes what takes a step on the GPU.
type stepper func(t *testing.T, o *optim.Optimizer, s *device.Stream) func() error

// trainings are by several algorithms.
func trainings(t *testing.T, step stepper) {
	named(t)
	momentum := optim.DefaultSGD()
	momentum.LR, momentum.Momentum, momentum.Nesterov, momentum.WeightDecay = 0.1, 0.9, true, 0.01
	adam := optim.DefaultAdam()
	adam.L1, adam.WeightDecay, adam.Maximize = 1e-3, 1e-2, true
	adamw := optim.DefaultAdamW()
	adamw.AMSGrad = true
	for _, alg := range []optim.Algorithm{optim.DefaultSGD(), momentum, adam, adamw, optim.DefaultScheduleFreeAdamW()} {
		t.Run(fmt.Sprintf("%T float32", alg), func(t *testing.T) { sameSteps[float32](t, alg, step) })
		t.Run(fmt.Sprintf("%T float64", alg), func(t *testing.T) { sameSteps[float64](t, alg, step) })
	}
}

func sameSteps[F rule.Float](t *testing.T, alg optim.Algorithm, made stepper) {
	on := hardware(t)
	defer on.Device().Close()
	host := cpu.New()
	defer host.Close()
	want, got := newRun[F](t, host, alg), newRun[F](t, on, alg)
	rng := rand.New(rand.NewPCG(1, 2))
	take := made(t, got.opt, got.stream)
	for step := range 5 {
		for i, n := range runLengths {
			g := make([]F, n)
			for k := range g {
				g[k] = F(rng.NormFloat64())
			}
			require.NoError(t, device.Upload(want.stream, want.params[i].Grad, g))
			require.NoError(t, device.Upload(got.stream, got.params[i].Grad, g))
		}
		require.NoError(t, want.opt.Step(want.stream))
		require.NoError(t, take())
		for i := range runLengths {
			w, g := want.state(t, i), got.state(t, i)
			require.Equal(t, len(w), len(g))
			for slot, x := range w {
				for k := range x {
					if math.Float64bits(float64(x[k])) != math.Float64bits(float64(g[slot][k])) {
						t.Fatalf("step %d: tensor %d of %d elements: %s[%d] is %v (%x) on the GPU, %v (%x) on the CPU",
							step, i, len(x), slot, k, g[slot][k], float64(g[slot][k]), x[k], float64(x[k]))
					}
				}
			}
		}
	}
	require.NoError(t, want.opt.Close())
	require.NoError(t, got.opt.Close())
}

var runLengths = []int{100_003, 0, 1, 33, 4097}

// run is one device's part.
type run[F rule.Float] struct {
	stream *device.Stream
	params []optim.Param
	opt    *optim.Optimizer
}

// slots that an algorithm does not have are not found, which is the same on both devices.
var slots = []string{"momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "z"}

func newRun[F rule.Float](t *testing.T, b kernels.Backend, alg optim.Algorithm) *run[F] {
	stream, err := b.Device().NewStream()
	require.NoError(t, err)
	r := &run[F]{stream: stream}
	rng := rand.New(rand.NewPCG(3, 4))
	dtype := device.Float64
	if _, ok := any(F(0)).(float32); ok {
		dtype = device.Float32
	}
	for i, n := range runLengths {
		x := make([]F, n)
		for k := range x {
			x[k] = F(rng.NormFloat64())
		}
		p := optim.Param{Name: fmt.Sprint(i)}
		p.Value, err = b.Device().Alloc(dtype, n)
		require.NoError(t, err)
		p.Grad, err = b.Device().Alloc(dtype, n)
		require.NoError(t, err)
		require.NoError(t, device.Upload(stream, p.Value, x))
		r.params = append(r.params, p)
	}
	require.NoError(t, stream.Synchronize())
	r.opt, err = optim.New(b, alg, r.params[:2])
	require.NoError(t, err)
	require.NoError(t, r.opt.AddGroup(optim.DefaultAdamW(), r.params[2:]))
	require.NoError(t, r.opt.SetClipNorm(10))
	require.NoError(t, r.opt.SetSchedule(optim.StepDecay{Every: 1, Gamma: 0.5}))
	return r
}

// state is the parameter's values and state, by slot.
func (r *run[F]) state(t *testing.T, i int) map[string][]F {
	out := map[string][]F{}
	buffers := map[string]*device.Buffer{"param": r.params[i].Value}
	for _, slot := range slots {
		if b, err := r.opt.State(r.params[i].Name, slot); err == nil {
			buffers[slot] = b
		}
	}
	for slot, b := range buffers {
		out[slot] = make([]F, b.Len())
		require.NoError(t, device.Download(r.stream, out[slot], b))
	}
	require.NoError(t, r.stream.Synchronize())
	return out
}
