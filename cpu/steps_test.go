package cpu_test

import (
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/optim"
)

// C3: 2,000 steps that nobody waits for, on 16 threads, hold little memory, and none that grows with their number.
func TestManySteps(t *testing.T) {
	dev := cpu.NewThreads(16)
	defer dev.Close()
	const n = 200_000 // no step runs on the caller's goroutine
	w, err := dev.Alloc(device.Float32, n)
	require.NoError(t, err)
	g, err := dev.Alloc(device.Float32, n)
	require.NoError(t, err)
	s := dev.DefaultStream()
	require.NoError(t, s.Zero(w))
	require.NoError(t, s.Zero(g))
	opt, err := optim.New(dev, optim.DefaultAdamW(), []optim.Param{{Name: "w", Value: w, Grad: g}})
	require.NoError(t, err)
	require.NoError(t, opt.SetClipNorm(1))
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for range 2000 {
		require.NoError(t, opt.Step(s))
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("2,000 steps hold %d bytes, want less than 4 MiB", grown)
	}
	require.NoError(t, s.Synchronize())
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("after 2,000 steps %d bytes are held, want less than 4 MiB", grown)
	}
	require.NoError(t, opt.Close())
}

// Who waits for all work finds it done when a call returns, with the same bits, on threads that are lent or not.
func TestWithin(t *testing.T) {
	const n = 200_000
	lent := 0
	lend := func(n int, work func(int)) {
		lent++
		var wg sync.WaitGroup
		for i := 1; i < n; i++ {
			wg.Go(func() { work(i) })
		}
		work(0)
		wg.Wait()
	}
	step := func(dev *cpu.Device, wait bool) []float32 {
		defer dev.Close()
		w, g := make([]float32, n), make([]float32, n)
		for i := range g {
			g[i] = float32(i%1001)/1000 - 0.3
		}
		value, err := cpu.Wrap(dev, w)
		require.NoError(t, err)
		grad, err := cpu.Wrap(dev, g)
		require.NoError(t, err)
		opt, err := optim.New(dev, optim.DefaultAdamW(), []optim.Param{{Name: "w", Value: value, Grad: grad}})
		require.NoError(t, err)
		require.NoError(t, opt.SetClipNorm(1))
		require.NoError(t, opt.Step(nil))
		if wait {
			require.NoError(t, dev.DefaultStream().Synchronize())
		}
		out := slices.Clone(w)
		require.NoError(t, opt.Close())
		return out
	}
	want := step(cpu.NewThreads(1), true)
	require.NotZero(t, want[7])
	require.Equal(t, want, step(cpu.NewWithin(2, nil), false))
	require.Zero(t, lent)
	require.Equal(t, want, step(cpu.NewWithin(2, lend), false))
	require.Equal(t, 2, lent, "the norm and the update")
}
