package main

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/reference"
)

func TestFill(t *testing.T) {
	dev := cpu.NewThreads(1)
	defer dev.Close()
	s := dev.DefaultStream()
	p := tame(rand.New(rand.NewPCG(1, 1)), device.Float32, 1)
	for _, n := range []int{0, 1, period - 3, period, 2*period + 5, 2*fillPeriods*period + 5} {
		for _, from := range []int64{0, 3, period - 1, 1 << 40} {
			b, err := dev.Alloc(device.Float32, n)
			require.NoError(t, err)
			require.NoError(t, p.fill(s, b, from))
			got := make([]float32, n)
			require.NoError(t, device.Download(s, got, b))
			require.NoError(t, s.Synchronize())
			for i, x := range got {
				if want := p.at(from + int64(i)); reference.BitsOf(x) != want {
					t.Fatalf("%d elements from %d: element %d is %v, want %s", n, from, i, x, reference.Text(device.Float32, want))
				}
			}
			require.NoError(t, b.Close())
		}
	}
}

// After many steps on tame numbers, everything is as ordinary as at the start.
func TestTameNumbersStayOrdinary(t *testing.T) {
	cfg, err := parseFlags([]string{"-n", "500", "-optimizer", "all"}, nil)
	require.NoError(t, err)
	dev := cpu.NewThreads(1)
	defer dev.Close()
	for _, o := range cfg.optimizers {
		if o.Name == "prodigy" {
			continue // a gradient that stays the same has no end, and so has its estimate of the distance: what becomes infinite is as fast
		}
		t.Run(o.Name, func(t *testing.T) {
			ordinary(t, cfg, dev, o)
		})
	}
}

func ordinary(t *testing.T, cfg *config, dev *cpu.Device, o optimizer) {
	w, err := newWork(cfg, dev, o)
	require.NoError(t, err)
	defer func() { assert.NoError(t, w.Close()) }()
	require.NoError(t, w.start())
	for range 1000 {
		require.NoError(t, w.opt.Step(nil))
	}
	for k, b := range w.tensors[0].planes {
		name := w.program.Of(k).Name
		x := make([]float32, b.Len())
		require.NoError(t, device.Download(w.stream, x, b))
		require.NoError(t, w.stream.Synchronize())
		for i, x := range x {
			if x == 0 && name == "exp_avg_diff" {
				continue // of gradients that stay the same
			}
			if size := math.Abs(float64(x)); !(size > 1e-12 && size < 1e3) {
				t.Fatalf("%s[%d] is %v", name, i, x)
			}
		}
	}
}
