//go:build linux || darwin

package emit

import (
	"os"
	"sync"
	"syscall"
)

// arena is memory for slots, of which every second page cannot be touched.
var arena = sync.OnceValue(func() []byte {
	page := os.Getpagesize()
	m, err := syscall.Mmap(-1, 0, 2*page*mostSlots, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	for i := range mostSlots {
		if err := syscall.Mprotect(m[(2*i+1)*page:][:page], syscall.PROT_NONE); err != nil {
			panic(err)
		}
	}
	return m
})

// guarded is n bytes for slot i, behind which nothing can be read or written.
func guarded(i, n int) []byte {
	page := os.Getpagesize()
	return arena()[(2*i+1)*page-n : (2*i+1)*page]
}
