//go:build !amd64 || purego

package cpu

import "unsafe"

const trafficName = copyName

func loadBlock(p unsafe.Pointer, n int)  { copyOut(p, n) }
func storeBlock(p unsafe.Pointer, n int) { copyThrough(p, n) }
