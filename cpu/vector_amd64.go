//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

func hasAVX2() bool { return cpu.X86.HasAVX2 }

// avx2Squares add rows of kernels.NormLanes squares into as many lanes, by the bytes of an element.
var avx2Squares = map[int]func(lanes *float64, x *byte, rows int){4: sumSquaresF32AVX2, 8: sumSquaresF64AVX2}

// avx2Halve adds lanes 64 to 4 apart.
var avx2Halve = halveAVX2
