package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/reference"
)

func TestULPs(t *testing.T) {
	inf, nan, negative0 := math.Inf(1), math.NaN(), math.Copysign(0, -1)
	for _, test := range []struct {
		t    device.DType
		a, b float64
		want uint64
	}{
		{device.Float32, 1, 1, 0},
		{device.Float32, 1, 1 + 0x1p-23, 1},
		{device.Float32, -1, -1 - 0x1p-23, 1},
		{device.Float32, 1, 2, 1 << 23},
		{device.Float32, 0, negative0, 1},
		{device.Float32, 0, 0x1p-149, 1},
		{device.Float32, -0x1p-149, 0x1p-149, 3},
		{device.Float32, math.MaxFloat32, inf, 1},
		{device.Float32, -inf, inf, 2*0x7f800000 + 1},
		{device.Float32, nan, nan, 0},
		{device.Float32, nan, 1, math.MaxUint32},
		{device.Float32, inf, nan, math.MaxUint32},
		{device.Float64, 1, 1 + 0x1p-52, 1},
		{device.Float64, 0, negative0, 1},
		{device.Float64, -inf, inf, 2*0x7ff0000000000000 + 1},
		{device.Float64, nan, 0, math.MaxUint64},
		{device.BFloat16, 1, 1 + 0x1p-7, 1},
		{device.BFloat16, -inf, inf, 2*0x7f80 + 1},
		{device.BFloat16, nan, 1, math.MaxUint16},
		{device.Float16, -1, -1 - 0x1p-10, 1},
		{device.Float16, 65504, inf, 1},
		{device.Float16, 1, nan, math.MaxUint16},
		{device.Int16, -3, 5, 8},
		{device.Int8, -128, 127, 255},
	} {
		a, b := reference.Bits(test.t, test.a), reference.Bits(test.t, test.b)
		assert.Equal(t, test.want, ulps(test.t, a, b), "%s: %v %v", test.t, test.a, test.b)
		assert.Equal(t, test.want, ulps(test.t, b, a), "%s: %v %v", test.t, test.b, test.a)
	}
	assert.EqualValues(t, 0, ulps(device.Float32, 0x7fc00000, 0xffc00001), "two NaNs")
}
