package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestULPs(t *testing.T) {
	inf, nan, negative0 := float32(math.Inf(1)), float32(math.NaN()), float32(math.Copysign(0, -1))
	for _, test := range []struct {
		a, b float32
		want uint64
	}{
		{1, 1, 0},
		{1, 1 + 0x1p-23, 1},
		{-1, -1 - 0x1p-23, 1},
		{1, 2, 1 << 23},
		{0, negative0, 1},
		{0, 0x1p-149, 1},
		{-0x1p-149, 0x1p-149, 3},
		{math.MaxFloat32, inf, 1},
		{-inf, inf, 2*0x7f800000 + 1},
		{nan, nan, 0},
		{nan, math.Float32frombits(0xffc00001), 0},
		{nan, 1, math.MaxUint32},
		{inf, nan, math.MaxUint32},
	} {
		assert.Equal(t, test.want, ulps(test.a, test.b), "%v %v", test.a, test.b)
		assert.Equal(t, test.want, ulps(test.b, test.a), "%v %v", test.b, test.a)
	}
	assert.EqualValues(t, 1, ulps(1, 1+0x1p-52))
	assert.EqualValues(t, 1, ulps(0, math.Copysign(0, -1)))
	assert.Equal(t, uint64(2*0x7ff0000000000000+1), ulps(math.Inf(-1), math.Inf(1)))
	assert.EqualValues(t, uint64(math.MaxUint64), ulps(math.NaN(), 0))
}

func TestFromBits(t *testing.T) {
	assert.Equal(t, float32(1), fromBits[float32](0x3f800000_00000000))
	assert.Equal(t, 1.0, fromBits[float64](0x3ff00000_00000000))
	assert.EqualValues(t, 0x3f800000, bitsOf(float32(1)))
	assert.Equal(t, uint64(0x3ff0000000000000), bitsOf(1.0))
}
