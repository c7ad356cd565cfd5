package cpu_test

import (
	"runtime"
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
