//go:build linux || darwin

package emit

import (
	"os"
	"sync"
	"syscall"
)

// pieces are for the planes and the block.
const pieces = mostPlanes + 1

// arena is memory for them, of which every second page cannot be touched.
var arena = sync.OnceValue(func() []byte {
	page := os.Getpagesize()
	m, err := syscall.Mmap(-1, 0, 2*page*pieces, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	for i := range pieces {
		if err := syscall.Mprotect(m[(2*i+1)*page:][:page], syscall.PROT_NONE); err != nil {
			panic(err)
		}
	}
	return m
})

// guarded is n bytes for a piece, behind which nothing can be read or written.
func guarded(i, n int) []byte {
	page := os.Getpagesize()
	return arena()[(2*i+1)*page-n : (2*i+1)*page]
}
