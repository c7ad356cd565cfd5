//go:build !amd64 || purego

package cpu

import "github.com/fusestep/fusestep/kernels/ir"

func hasAVX2() bool { return false }

var (
	avx2Updates    map[string]updateLoop
	avx2Operations map[int]map[ir.Op]operationLoop
	avx2Traffics   map[int]updateLoop
	avx2Squares    map[int]func(lanes *float64, x *byte, rows int)
	avx2Halve      func(lanes *float64)
)
