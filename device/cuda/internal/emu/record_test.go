//go:build cuda && cgo && linux

package emu_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// recording is a training on a stream of somebody else's, which he captures.
type recording struct {
	t      *testing.T
	dev    *cuda.Device
	theirs cu.Stream
	s      *device.Stream
	o      *optim.Optimizer
	params []optim.Param // with the gradients of now
	grads  [2][]*device.Buffer
	lr     *device.Buffer // of group 1, where it is on the device
	scale  *device.Buffer
	found  *device.Buffer
	execs  []driver.GraphExec
	rng    *rand.Rand
}

func newRecording(t *testing.T, alg optim.Algorithm, value device.DType, scaled bool) *recording {
	x := &recording{t: t, dev: open(t), rng: rand.New(rand.NewPCG(4, 4))}
	var err error
	inContext(t, func() { x.theirs = newStream(t, cu.NonBlocking) })
	x.s = cuda.WrapStream(x.dev, uintptr(handle(x.theirs)))
	for i, shape := range [][]int{{37}, {3, 4}, {5}} {
		n := shape[0]
		if len(shape) > 1 {
			n *= shape[1]
		}
		p := optim.Param{Name: fmt.Sprint("t", i), Shape: shape, Value: x.buffer(value, n)}
		for k := range x.grads {
			x.grads[k] = append(x.grads[k], x.buffer(value, n))
		}
		p.Grad = x.grads[0][i]
		x.params = append(x.params, p)
	}
	x.o, err = optim.New(x.dev, alg, x.params[:2])
	require.NoError(t, err)
	require.NoError(t, x.o.AddGroup(optim.DefaultLion(), x.params[2:]))
	x.lr = x.buffer(device.Float64, 1)
	if scaled {
		x.scale, x.found = x.buffer(device.Float32, 1), x.buffer(device.Float32, 1)
	}
	return x
}

func (x *recording) buffer(t device.DType, n int) *device.Buffer {
	b, err := x.dev.Alloc(t, n)
	require.NoError(x.t, err)
	x.fill(b, 1)
	return b
}

// fill makes numbers up.
func (x *recording) fill(b *device.Buffer, scale float64) {
	var err error
	switch b.DType() {
	case device.Float64:
		err = device.Upload(x.s, b, numbers[float64](x.rng, b.Len(), scale))
	case device.Float32:
		err = device.Upload(x.s, b, numbers[float32](x.rng, b.Len(), scale))
	case device.BFloat16:
		words := make([]uint16, b.Len())
		for i := range words {
			words[i] = uint16(0x3c00 + x.rng.IntN(0x400) | x.rng.IntN(2)<<15) // 2⁻⁷ to 2
		}
		err = device.Upload(x.s, b, words)
	}
	require.NoError(x.t, err)
	require.NoError(x.t, x.s.Synchronize())
}

func numbers[F float32 | float64](rng *rand.Rand, n int, scale float64) []F {
	out := make([]F, n)
	for i := range out {
		out[i] = F(scale * (2*rng.Float64() - 1))
	}
	return out
}

func (x *recording) use(gradients []*device.Buffer) {
	for i := range x.params {
		x.params[i].Grad = gradients[i]
	}
	require.NoError(x.t, x.o.Rebind(x.params))
}

// record captures a step, with gradients elsewhere.
func (x *recording) record(mode driver.CaptureMode) error {
	return x.recordGiven(mode, map[int]*device.Buffer{1: x.lr})
}

// recordGiven is record with these learning rates on the device.
func (x *recording) recordGiven(mode driver.CaptureMode, rates map[int]*device.Buffer) error {
	runtime.LockOSThread() // which alone may end a capture that is not global
	defer runtime.UnlockOSThread()
	inContext(x.t, func() { require.NoError(x.t, driver.StreamBeginCapture(handle(x.theirs), mode)) })
	err := x.o.Record(x.s, optim.Given{Scale: x.scale, FoundInf: x.found, LR: rates})
	inContext(x.t, func() {
		if err != nil {
			_, _ = driver.StreamEndCapture(handle(x.theirs))
			return
		}
		x.execs = append(x.execs, endCapture(x.t, x.theirs))
	})
	return err
}

// close gives all back.
func (x *recording) close() {
	require.NoError(x.t, x.o.Close())
	for _, e := range x.execs {
		inContext(x.t, func() { require.NoError(x.t, e.Destroy()) })
	}
	require.NoError(x.t, x.dev.Close()) // with the context, and the stream
}

// all is what the training has come to.
func (x *recording) all() map[string]any {
	out := map[string]any{}
	for _, p := range x.params {
		states, err := x.o.States(p.Name)
		require.NoError(x.t, err)
		buffers := maps.Collect(states)
		buffers["value"] = p.Value
		for name, b := range buffers {
			out[p.Name+" "+name] = x.bits(b)
		}
		counters, err := x.o.TensorCounters(x.s, p.Name)
		require.NoError(x.t, err)
		out[p.Name+" counters"] = counters
	}
	if norm, err := x.o.GradNorm(x.s); err == nil {
		out["norm"] = norm
	}
	return out
}

func (x *recording) bits(b *device.Buffer) []byte {
	require.NoError(x.t, x.s.Synchronize())
	out := make([]byte, b.Len()*b.DType().Size())
	inContext(x.t, func() {
		require.NoError(x.t, cu.MemcpyDtoH(unsafe.Pointer(unsafe.SliceData(out)), cu.DevicePtr(b.Addr()), int64(len(out))))
	})
	return out
}

// run does what a text says: S is a step, R records one, a digit launches what was recorded so. Where not all are steps, those of a digit are launches, else
// steps as the recorded one.
func (x *recording) run(how string, launches bool) (out []map[string]any) {
	var recorded []float64
	for _, do := range how {
		if do == 'R' {
			x.use(x.grads[1])
			rate, err := x.o.LR(0)
			require.NoError(x.t, err)
			recorded = append(recorded, rate)
			if launches {
				before := x.all()
				require.NoError(x.t, x.record(driver.CaptureGlobal))
				after := x.all()
				delete(before, "norm") // that of other gradients
				delete(after, "norm")
				require.Equal(x.t, before, after, "a step that is recorded is not taken")
			}
			continue
		}
		of := x.grads[0]
		if do != 'S' {
			of = x.grads[1]
		}
		for _, g := range of {
			x.fill(g, 1)
		}
		rate := x.rng.Float64()
		require.NoError(x.t, device.Upload(x.s, x.lr, []float64{rate}))
		if x.scale != nil {
			require.NoError(x.t, device.Upload(x.s, x.scale, []float32{float32(1 + x.rng.IntN(8))}))
			require.NoError(x.t, device.Upload(x.s, x.found, []float32{float32(x.rng.IntN(3) / 2)}))
		}
		require.NoError(x.t, x.s.Synchronize())
		require.NoError(x.t, x.o.SetLR(x.rng.Float64(), 0))
		switch {
		case do != 'S' && launches:
			inContext(x.t, func() { require.NoError(x.t, x.execs[do-'0'].Launch(handle(x.theirs))) })
		default:
			now, err := x.o.LR(0)
			require.NoError(x.t, err)
			if do != 'S' {
				require.NoError(x.t, x.o.SetLR(recorded[do-'0'], 0))
				require.NoError(x.t, x.o.SetLR(rate, 1))
			}
			x.use(of)
			require.NoError(x.t, x.o.StepScaled(x.s, x.scale, x.found))
			require.NoError(x.t, x.o.SetLR(now, 0))
			require.NoError(x.t, x.o.SetLR(optim.DefaultLion().LR, 1))
		}
		out = append(out, x.all())
	}
	return out
}

// Launches of a step that was recorded in somebody else's capture have the bits of steps, mixed with steps or not: each has the count, the loss scale and the learning rate
// that are on the device, and the hyperparameters and buffers of when it was recorded.
func TestRecord(t *testing.T) {
	install(t, emu.Config{Seed: 1, Checks: ptxvm.AllChecks})
	cases := optim.Cases()
	if testing.Short() {
		cases = slices.DeleteFunc(cases, func(c optim.Case) bool {
			return !slices.Contains(strings.Fields("adamw lamb novograd adafactor"), c.Name)
		})
	}
	for i, c := range cases {
		for k, how := range []string{"SSR0000S0", "SSR0S0R110S01"} {
			if k != i%2 && !testing.Short() {
				continue
			}
			value, alg, name := device.Float32, c.Algorithm, c.Name
			if i%3 == 1 {
				value, alg = device.BFloat16, optim.Stored{Algorithm: alg, Master: optim.MasterFloat32}
			}
			if i%3 == 2 {
				value, alg = device.BFloat16, optim.Stored{Algorithm: alg, All: device.BFloat16, Stochastic: true}
			}
			t.Run(name, func(t *testing.T) {
				run := func(launches bool) []map[string]any {
					x := newRecording(t, alg, value, i%4 >= 2)
					defer x.close()
					require.NoError(t, x.o.SetClipNorm(float64(i%2)/2))
					setting, err := alg.Setting()
					require.NoError(t, err)
					if kernels.Refused(setting.Rule) == 0 {
						require.NoError(t, x.o.SetClipTensorNorm(float64(i/2%3)/4))
					}
					return x.run(how, launches)
				}
				want, got := run(false), run(true)
				require.Equal(t, len(want), len(got))
				for step := range want {
					require.Equal(t, want[step], got[step], "step %d", step)
				}
				require.NotEqual(t, want[0], want[len(want)-1])
			})
		}
	}
}

// What is not like a step that was taken is not recorded, and what a record forbids fails, and changes nothing.
func TestRecordRefuses(t *testing.T) {
	install(t, emu.Config{Seed: 1, Checks: ptxvm.AllChecks})
	adam := optim.DefaultAdam()
	adam.WeightDecay = 0.1
	alg := optim.Stored{Algorithm: adam, Master: optim.MasterFloat32}
	for _, c := range []struct {
		name   string
		want   error
		change func(x *recording) error
	}{
		{"nothing", nil, func(x *recording) error { return nil }},
		{"another rate", nil, func(x *recording) error { return x.o.SetLR(0.5) }},
		{"another limit", nil, func(x *recording) error { return x.o.SetClipNorm(3) }},
		{"no step", optim.ErrUnready, func(x *recording) error {
			return x.o.AddGroup(optim.DefaultSGD(), []optim.Param{{Name: "new", Value: x.buffer(device.Float32, 1), Grad: x.buffer(device.Float32, 1)}})
		}},
		{"a tensor less", optim.ErrUnready, func(x *recording) error { return x.o.SetGrad("t0", nil) }},
		{"a gradient of another type", optim.ErrUnready, func(x *recording) error { return x.o.SetGrad("t1", x.buffer(device.Float32, 12)) }},
		{"a term more", nil, func(x *recording) error { return x.o.SetHyperparameter("amsgrad", 1, 0) }},
		{"a term less by its schedule", optim.ErrUnready, func(x *recording) error {
			return x.o.SetHyperparameterSchedule("weight_decay", optim.StepDecay{Every: 1, Gamma: 0}, 0)
		}},
		{"other counters", optim.ErrUnready, func(x *recording) error { return x.o.SetGroupCounters(nil, 0, map[string]float64{"step": 1}) }},
		{"another count", optim.ErrUnready, func(x *recording) error { return x.o.SetSteps(5) }},
		{"sums", device.ErrUnsupported, func(x *recording) error { return x.o.SetAccumulate(true) }},
		{"a rate of float32", device.ErrRange, func(x *recording) error { x.lr = x.buffer(device.Float32, 1); return nil }},
		{"a scaler of its own", nil, func(x *recording) error {
			scaler := optim.DefaultGradScaler()
			return x.o.SetGradScaler(x.s, &scaler)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newRecording(t, alg, device.BFloat16, false)
			defer x.close()
			require.ErrorIs(t, x.record(driver.CaptureThreadLocal), optim.ErrUnready, "before the first step")
			require.NoError(t, x.o.Step(x.s))
			require.NoError(t, c.change(x))
			if c.want == nil {
				require.NoError(t, x.record(driver.CaptureThreadLocal))
			} else {
				require.ErrorIs(t, x.record(driver.CaptureThreadLocal), c.want)
			}
		})
	}
	t.Run("tensors apart", func(t *testing.T) {
		x := newRecording(t, alg, device.BFloat16, false)
		defer x.close()
		require.NoError(t, x.o.Step(x.s))
		require.NoError(t, x.record(driver.CaptureGlobal))
		before := x.all()
		require.NoError(t, x.o.SetGrad("t1", nil))
		require.ErrorIs(t, x.o.Step(x.s), optim.ErrRecorded)
		require.ErrorIs(t, x.o.SetTensorCounters(x.s, "t0", map[string]float64{"step": 3}), optim.ErrRecorded)
		require.ErrorIs(t, x.o.Remove("t1"), optim.ErrRecorded)
		require.ErrorIs(t, x.o.RemoveGroup(0), optim.ErrRecorded)
		require.Equal(t, before, x.all())
		require.NoError(t, x.o.SetGrad("t1", x.grads[0][1]))
		require.NoError(t, x.o.SetGrad("t2", nil), "all that were recorded together")
		require.NoError(t, x.o.Step(x.s))
		require.NoError(t, x.o.SetGrad("t2", x.grads[0][2]))
		require.NoError(t, x.o.Step(x.s))
		inContext(t, func() { require.NoError(t, x.execs[0].Launch(handle(x.theirs))) })
		for i, want := range []float64{4, 4, 3} {
			counters, err := x.o.TensorCounters(x.s, fmt.Sprint("t", i))
			require.NoError(t, err)
			require.Equal(t, want, counters["step"])
		}
		require.NoError(t, x.o.SetSteps(4))
		require.NoError(t, x.o.SetGroupCounters(x.s, 1, map[string]float64{"step": 4}))
		require.NoError(t, x.o.Step(x.s), "SetSteps tells of launches")
	})
}

// Groups whose tensors have numbers together are recorded only where these are made of the same numbers in each launch. Else nothing changes.
func TestRecordTogether(t *testing.T) {
	install(t, emu.Config{Seed: 1, Checks: ptxvm.AllChecks})
	corrected := optim.DefaultProdigy()
	corrected.UseBiasCorrection = true
	prodigy, fleeting := optim.DefaultProdigy(), corrected
	fleeting.Betas = [2]float64{1e-20, 1e-20}
	type rates = map[int]*device.Buffer
	for _, c := range []struct {
		name  string
		alg   optim.Prodigy
		late  bool // group 2 comes a step later
		want  string
		given func(x *recording) rates
	}{
		{"one rate", corrected, false, "", func(x *recording) rates { return nil }},
		{"one rate on the device", corrected, false, "", func(x *recording) rates { return rates{0: x.lr, 2: x.lr} }},
		{"one rate on the device, others on the host", corrected, false, "", func(x *recording) rates {
			require.NoError(t, x.o.SetLR(0.5, 2))
			return rates{0: x.lr, 2: x.lr}
		}},
		{"other counts, of which nothing is made", prodigy, true, "", func(x *recording) rates { return nil }},
		{"other decays", corrected, false, "", func(x *recording) rates {
			require.NoError(t, x.o.SetHyperparameter("weight_decay", 0.5, 2))
			return nil
		}},
		{"two rates", corrected, false, "gives Rate made of h.LR 1, and group 2 made of h.LR 0.5", func(x *recording) rates {
			require.NoError(t, x.o.SetLR(0.5, 2))
			return nil
		}},
		{"two rates, without a correction", prodigy, false, "gives Rate 1, and group 2 0.5", func(x *recording) rates {
			require.NoError(t, x.o.SetLR(0.5, 2))
			return nil
		}},
		{"a rate on the device, and one on the host", prodigy, false, "and group 2 made of h.LR 1", func(x *recording) rates { return rates{0: x.lr} }},
		{"two rates on the device", prodigy, false, "and group 2 made of h.LR at 0x", func(x *recording) rates {
			return rates{0: x.lr, 2: x.buffer(device.Float64, 1)}
		}},
		{"other counts", fleeting, true, "gives Rate made of t.Beta1Power", func(x *recording) rates { return nil }},
		{"two estimates", prodigy, false, "gives DCoef 1, and group 2 2", func(x *recording) rates {
			require.NoError(t, x.o.SetHyperparameter("d_coef", 2, 2))
			return nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newRecording(t, c.alg, device.Float32, false)
			defer x.close()
			if c.late {
				require.NoError(t, x.o.Step(x.s))
			}
			p := optim.Param{Name: "more", Value: x.buffer(device.Float32, 9), Grad: x.buffer(device.Float32, 9)}
			require.NoError(t, x.o.AddGroup(c.alg, []optim.Param{p}))
			require.NoError(t, x.o.Step(x.s))
			given := c.given(x)
			x.params = append(x.params, p)
			before := x.all()
			err := x.recordGiven(driver.CaptureGlobal, given)
			require.Equal(t, before, x.all())
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			var of *optim.TensorError
			require.ErrorAs(t, err, &of)
			require.Equal(t, []any{2, "more"}, []any{of.Group, of.Tensor})
			require.ErrorIs(t, err, device.ErrUnsupported)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "to which group 0 gives")
		})
	}
}
