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
	for _, dtype := range []device.DType{device.Int16, device.Int8} { // which are no numbers
		b, err := dev.Alloc(dtype, len(wide))
		require.NoError(t, err)
		var kind *device.DTypeError
		require.ErrorAs(t, device.UploadFloats(s, b, wide), &kind)
		require.Equal(t, [2]device.DType{device.Float64, dtype}, [2]device.DType{kind.Got, kind.Want})
		require.ErrorAs(t, device.DownloadFloats(s, single, b), &kind)
		require.Equal(t, [2]device.DType{device.Float32, dtype}, [2]device.DType{kind.Got, kind.Want})
	}
	require.ErrorIs(t, device.UploadFloats(s, nil, wide), device.ErrClosed)
	require.ErrorIs(t, device.DownloadFloats(s, wide, nil), device.ErrClosed)
}

// Each number of a 16-bit type comes back as it went, and each number between two goes to the nearest, at a tie to the even one, whether it
// came as a float32 or needs a float64.
func TestFloats16(t *testing.T) {
	dev := cpu.New()
	defer dev.Close()
	s := dev.DefaultStream()
	for _, dtype := range []device.DType{device.BFloat16, device.Float16} {
		words := make([]uint16, 1<<16)
		for i := range words {
			words[i] = uint16(i)
		}
		b, err := dev.Alloc(dtype, len(words))
		require.NoError(t, err)
		numbers, single, back := make([]float64, len(words)), make([]float32, len(words)), make([]uint16, len(words))
		require.NoError(t, device.Upload(s, b, words))
		require.NoError(t, device.DownloadFloats(s, numbers, b))
		require.NoError(t, device.DownloadFloats(s, single, b))
		require.Equal(t, 1.0, numbers[map[device.DType]int{device.BFloat16: 0x3f80, device.Float16: 0x3c00}[dtype]])
		upload := func(x []float64) {
			require.NoError(t, device.UploadFloats(s, b, x))
			require.NoError(t, device.Download(s, back, b))
			require.NoError(t, s.Synchronize())
		}
		upload(numbers)
		for i, x := range numbers {
			if x != x {
				require.True(t, math.IsNaN(dtype.Round(x)))
				require.True(t, single[i] != single[i])
				continue
			}
			require.Equal(t, words[i], back[i], "%s %v", dtype, x)
			require.Equal(t, x, dtype.Round(x))
			require.Equal(t, x, float64(single[i]))
		}
		// What lies between a number and the next one in magnitude.
		middle, below, above := make([]float64, len(words)), make([]float64, len(words)), make([]float64, len(words))
		finite := func(i int) bool { return numbers[i] == numbers[i] && !math.IsInf(numbers[i], 0) }
		for i, x := range numbers {
			if !finite(i) {
				continue
			}
			next := numbers[i+1]
			if math.IsInf(next, 0) { // where it would be if exponents went on
				next = 2*x - numbers[i-1]
			}
			middle[i] = x + (next-x)/2
			below[i], above[i] = math.Nextafter(middle[i], x), math.Nextafter(middle[i], next)
		}
		for _, c := range []struct {
			x    []float64
			want func(i int) int
		}{
			{middle, func(i int) int { return i + i&1 }},
			{below, func(i int) int { return i }},
			{above, func(i int) int { return i + 1 }},
		} {
			upload(c.x)
			for i, x := range c.x {
				if finite(i) {
					require.Equal(t, words[c.want(i)], back[i], "%s: %v between %v and %v", dtype, x, numbers[i], numbers[i+1])
				}
			}
		}
		var length *device.LengthError
		require.ErrorAs(t, device.UploadFloats(s, b, numbers[1:]), &length)
		require.ErrorAs(t, device.DownloadFloats(s, single[1:], b), &length)
		require.NoError(t, b.Close())
	}
}
