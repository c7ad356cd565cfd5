//go:build cuda && cgo && linux

package emu_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// replayable is an optimizer of two groups of different algorithms, with clipping.
func replayable(t *testing.T, dev kernels.Backend, s *device.Stream) (*optim.Optimizer, []*device.Buffer) {
	var params []optim.Param
	var values []*device.Buffer
	for range 2 {
		w, g := alloc(t, dev.Device(), 3), alloc(t, dev.Device(), 3)
		upload(t, s, w, []float32{1, -2, 3})
		upload(t, s, g, []float32{0.1, 20, -3})
		params, values = append(params, optim.Param{Value: w, Grad: g}), append(values, w)
	}
	o, err := optim.New(dev, optim.DefaultAdamW(), params[:1])
	require.NoError(t, err)
	require.NoError(t, o.AddGroup(optim.DefaultLion(), params[1:]))
	require.NoError(t, o.SetClipNorm(1))
	require.NoError(t, o.SetSchedule(optim.StepDecay{Every: 1, Gamma: 0.5}))
	return o, values
}

// A replay is a copy for each of the two programs and one launch. Nothing in it waits, and a capture runs nothing.
func TestReplayCalls(t *testing.T) {
	d := install(t, emu.Config{})
	dev := open(t)
	defer dev.Close()
	s := dev.DefaultStream()
	o, _ := replayable(t, dev, s)
	defer o.Close()
	made := func(f func() error) map[driver.Entry]int {
		before := d.Calls()
		require.NoError(t, f())
		after := d.Calls()
		for e, n := range before {
			after[e] -= n
		}
		maps.DeleteFunc(after, func(e driver.Entry, n int) bool {
			return n == 0 || e == driver.CuCtxGetCurrent || e == driver.CuCtxSetCurrent || e == driver.CuEventCreate
		})
		return after
	}
	var captured *optim.Captured
	calls := made(func() (err error) { captured, err = o.Capture(s); return err })
	defer captured.Close()
	require.Equal(t, 1, calls[driver.CuStreamBeginCapture])
	require.Zero(t, calls[driver.CuMemcpyHtoDAsync], "of the inputs")
	require.Positive(t, calls[driver.CuLaunchKernel])
	for range 3 {
		require.Equal(t, map[driver.Entry]int{driver.CuMemcpyHtoDAsync: 2, driver.CuEventRecord: 2, driver.CuGraphLaunch: 1},
			made(func() error { return captured.Replay(s) }))
	}
}

// Feed and Launch are all that another framework needs which captures its own stream, as PyTorch does: the launches are in its graph, and
// before each of its replays the step is fed.
func TestCapturedElsewhere(t *testing.T) {
	install(t, emu.Config{Checks: ptxvm.AllChecks})
	run := func(captured bool) []float32 {
		dev := open(t)
		defer dev.Close()
		s := dev.DefaultStream()
		w, g := alloc(t, dev.Device(), 3), alloc(t, dev.Device(), 3)
		upload(t, s, w, []float32{1, -2, 3})
		upload(t, s, g, []float32{0.1, 20, -3})
		setting, err := optim.DefaultSGD().Setting()
		require.NoError(t, err)
		p, err := kernels.New(kernels.SpecOf(setting, device.Float32))
		require.NoError(t, err)
		counters, err := dev.Alloc(device.Float64, len(p.Counters))
		require.NoError(t, err)
		require.NoError(t, device.Upload(s, counters, p.InitialCounters()))
		work := kernels.Work{Program: p, Tensors: []kernels.Tensor{{Shape: []int{3}, Planes: make([]*device.Buffer, len(p.Planes))}}, Counters: []*device.Buffer{counters}}
		for k := range p.Planes {
			work.Tensors[0].Planes[k] = map[string]*device.Buffer{"param": w, "grad": g}[p.Of(k).Name]
		}
		made, err := dev.Compile(work)
		require.NoError(t, err)
		u := made.(kernels.Capturable)
		var graph *device.Graph
		if captured {
			graph, err = dev.Capture(func(s *device.Stream) error { return u.Launch(s, kernels.Step{}) })
			require.NoError(t, err)
		}
		for k := range 600 { // more than can be under way
			step := kernels.Step{Groups: []kernels.GroupStep{kernels.GroupStepOf(setting, []float64{1 / float64(k+1)})}}
			step.Groups[0].Hyper = append(step.Groups[0].Hyper, setting.Hyper[1:]...)
			if !captured {
				require.NoError(t, u.Enqueue(s, step))
				continue
			}
			require.NoError(t, u.Feed(s, step))
			require.NoError(t, s.Launch(graph))
		}
		return download(t, s, w)
	}
	want := run(false)
	require.NotEqual(t, []float32{1, -2, 3}, want)
	require.Equal(t, want, run(true))
}

// A launch that fails leaves everything as it was, so that the next one has the bits of a training in which none failed.
func TestReplayFails(t *testing.T) {
	d := install(t, emu.Config{})
	run := func(failing ...driver.Entry) (out []float32) {
		dev := open(t)
		defer dev.Close()
		s := dev.DefaultStream()
		o, values := replayable(t, dev, s)
		captured, err := o.Capture(s)
		require.NoError(t, err)
		for i := range 4 {
			if i == 2 && len(failing) > 0 {
				d.Fail(failing[0], 1, driver.ErrorUnknown)
				require.ErrorIs(t, captured.Replay(s), driver.ErrorUnknown)
				require.Equal(t, i, o.Steps())
			}
			require.NoError(t, captured.Replay(s))
			for _, w := range values {
				out = append(out, download(t, s, w)...)
			}
		}
		require.NoError(t, captured.Close())
		require.NoError(t, o.Close())
		return out
	}
	want := run()
	for _, e := range []driver.Entry{driver.CuGraphLaunch, driver.CuMemcpyHtoDAsync, driver.CuEventRecord} {
		require.Equal(t, want, run(e), "%v", e)
	}
}
