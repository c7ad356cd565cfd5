//go:build (linux || darwin) && amd64 && !purego

package exec

import (
	"os"
	"syscall"
)

// mapMemory maps pages for n bytes, writable.
func mapMemory(n int) ([]byte, error) {
	page := os.Getpagesize()
	return syscall.Mmap(-1, 0, (n+page-1)/page*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

// seal makes memory executable instead of writable.
func seal(m []byte) error { return syscall.Mprotect(m, syscall.PROT_READ|syscall.PROT_EXEC) }

func unmapMemory(m []byte) error { return syscall.Munmap(m) }
