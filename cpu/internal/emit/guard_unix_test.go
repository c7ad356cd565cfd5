//go:build linux || darwin

package emit

import (
	"os"
	"sync"
	"syscall"
)

// pieces are for the planes, the block and what fills of columns have.
const pieces = mostPlanes + 1 + mostFills

// pieceBytes is what a piece can have, and the page that cannot be touched is behind it.
func pieceBytes() int {
	page := os.Getpagesize()
	return (mostElements*doubles + page - 1) / page * page
}

// arena is memory for them.
var arena = sync.OnceValue(func() []byte {
	page, size := os.Getpagesize(), pieceBytes()
	m, err := syscall.Mmap(-1, 0, (size+page)*pieces, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	for i := range pieces {
		if err := syscall.Mprotect(m[i*(size+page)+size:][:page], syscall.PROT_NONE); err != nil {
			panic(err)
		}
	}
	return m
})

// guarded is n bytes for a piece, behind which nothing can be read or written.
func guarded(i, n int) []byte {
	page, size := os.Getpagesize(), pieceBytes()
	end := i*(size+page) + size
	return arena()[end-n : end]
}
