package device_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/device"
)

// Numbers of either type go to buffers of either type and back; on the way to float32 they are rounded to nearest, ties to even.
func TestFloats(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	s := dev.DefaultStream()
	wide := []float64{0.1, 1 + 0x1p-24, 1 + 3*0x1p-24, 1e39, -1e-46, 0x1p-149, math.Inf(-1)}
	rounded := make([]float64, len(wide))
	single := make([]float32, len(wide))
	for i, x := range wide {
		single[i] = float32(x)
		rounded[i] = float64(single[i])
	}
	require.Equal(t, []float64{1, 1 + 0x1p-22, math.Inf(1), math.Copysign(0, -1)}, rounded[1:5])
	for _, dtype := range []device.DType{device.Float32, device.Float64} {
		b, err := dev.Alloc(dtype, len(wide))
		require.NoError(t, err)
		back, backSingle := make([]float64, len(wide)), make([]float32, len(wide))
		require.NoError(t, device.UploadFloats(s, b, wide))
		require.NoError(t, device.DownloadFloats(s, back, b))
		require.NoError(t, device.DownloadFloats(s, backSingle, b))
		if dtype == device.Float64 {
			require.Equal(t, wide, back)
		} else {
			require.Equal(t, rounded, back)
		}
		require.Equal(t, single, backSingle)
		require.NoError(t, device.UploadFloats(s, b, single))
		require.NoError(t, device.DownloadFloats(s, back, b))
		require.Equal(t, rounded, back)

		var length *device.LengthError
		require.ErrorAs(t, device.UploadFloats(s, b, wide[1:]), &length)
		require.ErrorAs(t, device.DownloadFloats(s, single[1:], b), &length)
	}
	half, err := dev.Alloc(device.BFloat16, len(wide))
	require.NoError(t, err)
	var dtype *device.DTypeError
	require.ErrorAs(t, device.UploadFloats(s, half, wide), &dtype)
	require.ErrorAs(t, device.DownloadFloats(s, wide, half), &dtype)
	require.ErrorIs(t, device.UploadFloats(s, nil, wide), device.ErrClosed)
	require.ErrorIs(t, device.DownloadFloats(s, wide, nil), device.ErrClosed)
}
