//go:build cuda && cgo && linux

package emu_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/device/cuda/internal/driver"
	"github.com/fusestep/fusestep/device/cuda/internal/emu"
	"github.com/fusestep/fusestep/optim"
)

// A step with a loss scale, clipped, launches no kernel more than one that is clipped, copies the scale's state besides, allocates nothing on the device
// and waits for nothing.
func TestControlledStepWaitsForNothing(t *testing.T) {
	install(t, emu.Config{Seed: 1})
	dev := open(t)
	s := dev.DefaultStream()
	w, g := alloc(t, dev.Device(), 3), alloc(t, dev.Device(), 3)
	upload(t, s, w, []float32{1, 2, 3})
	upload(t, s, g, []float32{1, 2, 3})
	o, err := optim.New(dev, optim.DefaultAdamW(), []optim.Param{{Value: w, Grad: g}})
	require.NoError(t, err)
	require.NoError(t, o.SetClipNorm(1))
	calls := func() map[driver.Entry]int {
		require.NoError(t, o.Step(s)) // which compiles
		count := map[driver.Entry]int{}
		defer driver.SetHook(func(e driver.Entry, _ []uint64) (driver.Result, bool) {
			count[e]++
			return 0, false
		})()
		require.NoError(t, o.Step(s))
		return count
	}
	want := calls()
	require.Equal(t, 4, want[driver.CuLaunchKernel], "squares and root of the norm, prologue and update")
	want[driver.CuMemcpyDtoDAsync]++
	scaler := optim.DefaultGradScaler()
	require.NoError(t, o.SetGradScaler(s, &scaler))
	got := calls()
	for _, e := range []driver.Entry{driver.CuStreamSynchronize, driver.CuEventSynchronize, driver.CuCtxSynchronize, driver.CuMemAlloc} {
		require.Zero(t, got[e], e)
	}
	for _, count := range []map[driver.Entry]int{want, got} { // the context is looked at with each of them
		delete(count, driver.CuCtxSetCurrent)
		delete(count, driver.CuCtxGetCurrent)
	}
	require.Equal(t, want, got)
	require.NoError(t, o.Close())
	for _, b := range []*device.Buffer{w, g} {
		require.NoError(t, b.Close())
	}
	require.NoError(t, dev.Close())
}
