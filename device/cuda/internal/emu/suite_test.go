//go:build cuda && cgo && linux

package emu_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/device/cuda/internal/emu/ptxvm"
	"github.com/fusestep/fusestep/device/devicetest"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/optim"
)

func TestDevice(t *testing.T) {
	install(t, emu.Config{})
	devicetest.Run(t, func(t *testing.T) *device.Device { return open(t).Device() })
}

// TestKernels holds every kernel that is emitted to the rule's graph, bit for bit, with all checks on and the blocks and warps in
// an order of chance. With -short, which is for the race detector, one rule and kerneltest's own are enough: what threads do is the same.
func TestKernels(t *testing.T) {
	install(t, emu.Config{Checks: ptxvm.AllChecks, Seed: 1})
	rules := optim.Rules()
	if testing.Short() {
		rules = rules[:1]
	}
	backend := func(t *testing.T) kernels.Backend { return open(t) }
	kerneltest.Run(t, rules, backend)
	kerneltest.RunNames(t, backend)
}

// TestEvalParams holds the average of a schedule-free optimizer, of which the update is closed as soon as it is enqueued, to that of
// the CPU.
func TestEvalParams(t *testing.T) {
	install(t, emu.Config{Checks: ptxvm.AllChecks, Seed: 1})
	average := func(b kernels.Backend) []float32 {
		dev := b.Device()
		defer dev.Close()
		s := dev.DefaultStream()
		w, g, x := alloc(t, dev, 3), alloc(t, dev, 3), alloc(t, dev, 3)
		upload(t, s, w, []float32{1, -2, 3})
		upload(t, s, g, []float32{0.1, 20, -3})
		o, err := optim.New(b, optim.DefaultScheduleFreeAdamW(), []optim.Param{{Name: "w", Value: w, Grad: g}})
		require.NoError(t, err)
		for range 5 {
			require.NoError(t, o.Step(s))
		}
		require.NoError(t, o.EvalParams(s, map[string]*device.Buffer{"w": x}))
		out := download(t, s, x)
		require.NotEqual(t, download(t, s, w), out)
		require.NoError(t, o.Close())
		return out
	}
	require.Equal(t, average(cpu.New()), average(open(t)))
}
