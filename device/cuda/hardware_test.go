//go:build cuda && cgo && linux

package cuda_test

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/devicetest"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
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
	backend := func(t *testing.T) kernels.Backend { return hardware(t) }
	kerneltest.Run(t, optim.Rules(), backend)
	kerneltest.RunNames(t, backend)
}

// TestHardwareLevels has sums that the emulated GPU would take minutes for.
func TestHardwareLevels(t *testing.T) {
	b := hardware(t)
	defer b.Device().Close()
	kerneltest.Levels(t, b)
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

// TestHardwareRecord is TestHardwareSteps with a step that is recorded behind the first one, in a graph whose launches are the others. Their learning rates are on the GPU.
func TestHardwareRecord(t *testing.T) {
	trainings(t, func(t *testing.T, o *optim.Optimizer, s *device.Stream) func() error {
		var graph *device.Graph
		rates, step := map[int]*device.Buffer{}, 0
		return func() (err error) {
			defer func() { step++ }()
			if step == 0 {
				return o.Step(s)
			}
			for g := range o.Groups() {
				if rates[g] == nil {
					rates[g], err = s.Device().Alloc(device.Float64, 1)
					require.NoError(t, err)
				}
				lr, err := o.LR(g)
				require.NoError(t, err)
				require.NoError(t, device.Upload(s, rates[g], []float64{lr * schedule.Factor(step)}))
			}
			if graph == nil {
				graph, err = s.Device().Capture(func(s *device.Stream) error { return o.Record(s, optim.Given{LR: rates}) })
				require.NoError(t, err)
			}
			require.NoError(t, s.Launch(graph))
			if out, err := o.Outcome(s); err != nil || out.LossScale() != 0 {
				return err // else the device does not count
			}
			return o.SetSteps(step + 1)
		}
	})
}

// stepper makes what takes a step on the GPU.
type stepper func(t *testing.T, o *optim.Optimizer, s *device.Stream) func() error

// trainings are by several algorithms, in both types that are computed with, and in 16 bits.
func trainings(t *testing.T, step stepper) {
	named(t)
	momentum := optim.DefaultSGD()
	momentum.LR, momentum.Momentum, momentum.Nesterov, momentum.WeightDecay = 0.1, 0.9, true, 0.01
	adam := optim.DefaultAdam()
	adam.L1, adam.WeightDecay, adam.Maximize = 1e-3, 1e-2, true
	adamw := optim.DefaultAdamW()
	adamw.AMSGrad = true
	for _, alg := range []optim.Algorithm{optim.DefaultSGD(), momentum, adam, adamw, optim.DefaultScheduleFreeAdamW()} {
		for _, dtype := range []device.DType{device.Float32, device.Float64} {
			t.Run(fmt.Sprintf("%T %s", alg, dtype), func(t *testing.T) { sameSteps(t, alg, dtype, step) })
		}
	}
	average := func(alg optim.Algorithm) optim.Algorithm { return optim.Averaged{Algorithm: alg, Decay: 0.9} }
	for name, alg := range map[string]optim.Algorithm{
		"bfloat16": adamw, "bfloat16 with a master": optim.Stored{Algorithm: adamw, Master: optim.MasterFloat32},
		"bfloat16 with a remainder, averaged":   average(optim.Stored{Algorithm: adamw, Master: optim.MasterRemainder}),
		"bfloat16 with a remainder of 8 bits":   optim.Stored{Algorithm: momentum, Master: optim.MasterRemainder8, All: device.Float16},
		"bfloat16 in all, stochastic, averaged": average(optim.Stored{Algorithm: adam, All: device.BFloat16, Stochastic: true, Seed: 7}),
		"float16 with a master":                 optim.Stored{Algorithm: adam, Master: optim.MasterFloat32},
		"float16 in all, stochastic":            optim.Stored{Algorithm: optim.DefaultLion(), All: device.Float16, Stochastic: true},
	} {
		dtype := device.BFloat16
		if strings.HasPrefix(name, "float16") {
			dtype = device.Float16
		}
		t.Run(name, func(t *testing.T) { sameSteps(t, alg, dtype, step) })
	}
}

func sameSteps(t *testing.T, alg optim.Algorithm, dtype device.DType, made stepper) {
	on := hardware(t)
	defer on.Device().Close()
	host := cpu.New()
	defer host.Close()
	want, got := newRun(t, host, alg, dtype), newRun(t, on, alg, dtype)
	rng := rand.New(rand.NewPCG(1, 2))
	take := made(t, got.opt, got.stream)
	for step := range 5 {
		for i, n := range runLengths {
			g := make([]float64, n)
			for k := range g {
				g[k] = lossScale(dtype) * rng.NormFloat64()
			}
			if i == 0 && step == 2 && dtype.Size() == 2 {
				g[n-1] = math.Inf(1) // the step is skipped
			}
			require.NoError(t, device.UploadFloats(want.stream, want.params[i].Grad, g))
			require.NoError(t, device.UploadFloats(got.stream, got.params[i].Grad, g))
		}
		require.NoError(t, want.opt.Step(want.stream))
		require.NoError(t, take())
		w, err := want.opt.Outcome(want.stream)
		require.NoError(t, err)
		g, err := got.opt.Outcome(got.stream)
		require.NoError(t, err)
		require.Equal(t, []any{w.AppliedSteps(), w.SkippedSteps(), w.LossScale()}, []any{g.AppliedSteps(), g.SkippedSteps(), g.LossScale()}, "step %d", step)
		require.Equal(t, step != 2 || dtype.Size() != 2, w.Applied(), "step %d", step)
		for i := range runLengths {
			w, g := want.state(t, i), got.state(t, i)
			require.Equal(t, len(w), len(g))
			for slot, x := range w {
				require.Len(t, g[slot], len(x))
				for k := range x {
					if math.Float64bits(x[k]) != math.Float64bits(g[slot][k]) && !(x[k] != x[k] && g[slot][k] != g[slot][k]) {
						t.Fatalf("step %d: tensor %d of %d elements: %s[%d] is %v (%x) on the GPU, %v (%x) on the CPU",
							step, i, len(x), slot, k, g[slot][k], g[slot][k], x[k], x[k])
					}
				}
			}
		}
	}
	require.NoError(t, want.opt.Close())
	require.NoError(t, got.opt.Close())
}

// lossScale is what gradients are multiplied by: 1 where there is no GradScaler.
func lossScale(dtype device.DType) float64 {
	if dtype.Size() == 2 {
		return 1024
	}
	return 1
}

var schedule = optim.StepDecay{Every: 1, Gamma: 0.5}

var runLengths = []int{100_003, 0, 1, 33, 4097}

// run is one device's part.
type run struct {
	stream *device.Stream
	params []optim.Param
	opt    *optim.Optimizer
}

// slots that an algorithm does not have are not found, which is the same on both devices.
var slots = []string{"momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "z", "master", "remainder", "ema"}

// newRun has a GradScaler where values have 16 bits, and sets gradients to 0.
func newRun(t *testing.T, b kernels.Backend, alg optim.Algorithm, dtype device.DType) *run {
	stream, err := b.Device().NewStream()
	require.NoError(t, err)
	r := &run{stream: stream}
	rng := rand.New(rand.NewPCG(3, 4))
	for i, n := range runLengths {
		x := make([]float64, n)
		for k := range x {
			x[k] = rng.NormFloat64()
		}
		p := optim.Param{Name: fmt.Sprint(i)}
		p.Value, err = b.Device().Alloc(dtype, n)
		require.NoError(t, err)
		p.Grad, err = b.Device().Alloc(dtype, n)
		require.NoError(t, err)
		require.NoError(t, device.UploadFloats(stream, p.Value, x))
		r.params = append(r.params, p)
	}
	r.opt, err = optim.New(b, alg, r.params[:2])
	require.NoError(t, err)
	require.NoError(t, r.opt.AddGroup(optim.DefaultAdamW(), r.params[2:]))
	require.NoError(t, r.opt.SetClipNorm(10))
	require.NoError(t, r.opt.SetSchedule(schedule))
	if dtype.Size() == 2 {
		scaler := optim.DefaultGradScaler()
		scaler.InitScale = lossScale(dtype)
		require.NoError(t, r.opt.SetGradScaler(stream, &scaler))
		require.NoError(t, r.opt.SetZeroGrad(true))
	}
	return r
}

// state is the parameter's values, gradient and state, by slot.
func (r *run) state(t *testing.T, i int) map[string][]float64 {
	out := map[string][]float64{}
	buffers := map[string]*device.Buffer{"param": r.params[i].Value, "grad": r.params[i].Grad}
	for _, slot := range slots {
		if b, err := r.opt.State(r.params[i].Name, slot); err == nil {
			buffers[slot] = b
		}
	}
	for slot, b := range buffers {
		switch b.DType() {
		case device.Int16:
			out[slot] = integers[int16](t, r.stream, b)
		case device.Int8:
			out[slot] = integers[int8](t, r.stream, b)
		default:
			out[slot] = make([]float64, b.Len())
			require.NoError(t, device.DownloadFloats(r.stream, out[slot], b))
		}
	}
	return out
}

func integers[I int8 | int16](t *testing.T, s *device.Stream, b *device.Buffer) []float64 {
	x := make([]I, b.Len())
	require.NoError(t, device.Download(s, x, b))
	require.NoError(t, s.Synchronize())
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}
