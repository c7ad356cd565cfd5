//go:build !purego

package cpu

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

var trafficName = map[bool]string{true: "AVX2 loads and stores", false: copyName}[cpu.X86.HasAVX2]

// loadAVX2 and storeAVX2 read n bytes, and read them and write them back. n is a multiple of 128.
//
//go:noescape
func loadAVX2(p unsafe.Pointer, n int)

//go:noescape
func storeAVX2(p unsafe.Pointer, n int)

func loadBlock(p unsafe.Pointer, n int) {
	whole := n &^ 127
	if !cpu.X86.HasAVX2 {
		whole = 0
	}
	if whole > 0 {
		loadAVX2(p, whole)
	}
	copyOut(unsafe.Add(p, whole), n-whole)
}

func storeBlock(p unsafe.Pointer, n int) {
	whole := n &^ 127
	if !cpu.X86.HasAVX2 {
		whole = 0
	}
	if whole > 0 {
		storeAVX2(p, whole)
	}
	copyThrough(unsafe.Add(p, whole), n-whole)
}
