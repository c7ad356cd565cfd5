package main

import (
	"math"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/reference"
)

// ulps is how many numbers of a type elements are apart, given their bits: 0 if and only if they have the same bits or both are NaN. Zeros of
// different signs are 1 apart, and remainders as far as integers are. A NaN is as far from any number as an unsigned integer of the type's width
// can say.
func ulps(t device.DType, a, b uint64) uint64 {
	if t == device.Int16 || t == device.Int8 {
		return uint64(math.Abs(reference.Value(t, a) - reference.Value(t, b)))
	}
	nan := func(bits uint64) bool { return math.IsNaN(reference.Value(t, bits)) }
	switch {
	case nan(a) && nan(b):
		return 0
	case nan(a) || nan(b):
		return math.MaxUint64 >> (64 - 8*t.Size())
	}
	// Bit patterns grow with the magnitude: counted from the lowest number, they grow with the number.
	order := func(bits uint64) uint64 {
		sign := uint64(1) << (8*t.Size() - 1)
		if bits&sign == 0 {
			return sign + bits
		}
		return sign - 1 - (bits - sign)
	}
	i, j := order(a), order(b)
	return max(i, j) - min(i, j)
}
