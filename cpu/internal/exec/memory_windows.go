//go:build amd64 && !purego

package exec

import (
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// mapMemory maps pages for n bytes, writable.
func mapMemory(n int) ([]byte, error) {
	page := os.Getpagesize()
	n = (n + page - 1) / page * page
	at, err := windows.VirtualAlloc(0, uintptr(n), windows.MEM_RESERVE|windows.MEM_COMMIT, windows.PAGE_READWRITE)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), n), nil
}

// seal makes memory executable instead of writable.
func seal(m []byte) error {
	var before uint32
	return windows.VirtualProtect(uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), windows.PAGE_EXECUTE_READ, &before)
}

func unmapMemory(m []byte) error {
	return windows.VirtualFree(uintptr(unsafe.Pointer(&m[0])), 0, windows.MEM_RELEASE)
}
