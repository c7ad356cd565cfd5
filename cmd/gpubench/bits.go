package main

import (
	"math"

	"github.com/fusestep/fusestep/kernels/rule"
)

// bitsOf is x's bit pattern.
func bitsOf[F rule.Float](x F) uint64 {
	if x, ok := any(x).(float32); ok {
		return uint64(math.Float32bits(x))
	}
	return math.Float64bits(float64(x))
}

// fromBits is the number with the bit pattern; for float32 the upper half of it.
func fromBits[F rule.Float](b uint64) F {
	var x any = math.Float64frombits(b)
	if _, ok := any(F(0)).(float32); ok {
		x = math.Float32frombits(uint32(b >> 32))
	}
	return x.(F)
}

// ulps is how many numbers a and b are apart, 0 if and only if they have the same bits or both are NaN. Zeros of
// different signs are 1 apart. A NaN is as far from any number as an unsigned integer of the type's width can say.
func ulps[F rule.Float](a, b F) uint64 {
	nanA, nanB := a != a, b != b
	switch {
	case nanA && nanB:
		return 0
	case nanA || nanB:
		if _, ok := any(a).(float32); ok {
			return math.MaxUint32
		}
		return math.MaxUint64
	}
	// Bit patterns grow with the magnitude: counted from the lowest number, they grow with the number.
	order := func(x F) uint64 {
		width := 64
		if _, ok := any(x).(float32); ok {
			width = 32
		}
		sign := uint64(1) << (width - 1)
		if b := bitsOf(x); b&sign == 0 {
			return sign + b
		} else {
			return sign - 1 - (b - sign)
		}
	}
	i, j := order(a), order(b)
	return max(i, j) - min(i, j)
}
