package optim_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/optim"
)

// A scale that somebody else keeps on the device, and what they have found, do what a GradScaler of that scale does, and a step that is left out: with
// clipping and without, in any order, and among steps without a scale.
func TestStepScaled(t *testing.T) {
	inf := math.Inf(1)
	type step struct {
		scale, found, max, bad float64 // scale 0: there is none; found -1: likewise; bad: an element of the gradient
	}
	steps := []step{{0, -1, 0, 1}, {8, 0, 0, 1}, {8, 1, 0, 1}, {0x1p-20, -1, 0, 1}, {4, -1, 0, inf}, {3, 0, 1, 1}, {3, 2, 1, 1}, {0, 1, 0, 1}, {0, 0, 0, 2},
		{0, -1, 1, 1}, {16, 0, 1, inf}, {0, -1, 0, 2}, {0, 0, 1, 1}}
	onExecutors(t, func(t *testing.T, b kernels.Backend) {
		dev := b.Device()
		s := dev.DefaultStream()
		buffer := func(x ...float64) *device.Buffer {
			b, err := dev.Alloc(device.Float32, len(x))
			require.NoError(t, err)
			require.NoError(t, device.UploadFloats(s, b, x))
			return b
		}
		make := func() (*optim.Optimizer, *device.Buffer, *device.Buffer) {
			value, grad := buffer(1, 2, 3), buffer(0, 0, 0)
			o, err := optim.New(b, optim.DefaultAdamW(), []optim.Param{{Value: value, Grad: grad}})
			require.NoError(t, err)
			return o, value, grad
		}
		given, value, grad := make()
		model, want, same := make()
		scale, found := buffer(0), buffer(0)
		applied := 0
		for i, tt := range steps {
			what := fmt.Sprintf("step %d: %+v", i, tt)
			gradient := []float64{0.5, -tt.bad, 0.25}
			for _, to := range []*device.Buffer{grad, same} {
				require.NoError(t, device.UploadFloats(s, to, gradient))
			}
			var at [2]*device.Buffer
			if tt.scale != 0 {
				at[0] = scale
				require.NoError(t, device.UploadFloats(s, scale, []float64{tt.scale}))
			}
			if tt.found >= 0 {
				at[1] = found
				require.NoError(t, device.UploadFloats(s, found, []float64{tt.found}))
			}
			require.NoError(t, given.SetClipNorm(tt.max))
			require.NoError(t, given.StepScaled(s, at[0], at[1]), what)
			require.NoError(t, model.SetClipNorm(tt.max))
			if tt.scale != 0 {
				require.NoError(t, model.SetGradScaler(s, scaler(func(g *optim.GradScaler) { g.InitScale = tt.scale })))
			}
			if tt.found <= 0 {
				require.NoError(t, model.Step(s), what)
			}
			if tt.scale != 0 {
				require.NoError(t, model.SetGradScaler(s, nil))
			}
			skipped := tt.found > 0 || math.IsInf(tt.bad, 0)
			if !skipped {
				applied++
			}
			if tt.scale != 0 || tt.found >= 0 {
				out, err := given.Outcome(s)
				require.NoError(t, err)
				require.Equal(t, skipped, !out.Applied(), what)
			}
			var x, y [3]float64
			require.NoError(t, device.DownloadFloats(s, x[:], value))
			require.NoError(t, device.DownloadFloats(s, y[:], want))
			require.Equal(t, y, x, what)
		}
		counters, err := given.Counters(s)
		require.NoError(t, err)
		require.EqualValues(t, applied, counters["0.0"]["step"])
		require.ErrorIs(t, given.StepScaled(s, grad, nil), device.ErrRange)
		require.NoError(t, given.SetGradScaler(s, scaler(func(*optim.GradScaler) {})))
		require.ErrorContains(t, given.StepScaled(s, scale, nil), "there is a GradScaler")
		for _, o := range []*optim.Optimizer{given, model} {
			require.NoError(t, o.Close())
		}
	})
}
