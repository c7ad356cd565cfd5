package cpu

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/fusestep/fusestep/device"
)

const madvHugepage = 14 // MADV_HUGEPAGE; package syscall does not name it

// mapMemory maps n bytes aligned to a huge page, and advises huge pages: 3 to 8 % on a pass over DRAM.
func mapMemory(n int) (mapped, b []byte, err error) {
	mapped, err = syscall.Mmap(-1, 0, n+hugePage, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("%d bytes: %w (%v)", n, device.ErrOutOfMemory, err)
	}
	b = aligned(mapped, n, hugePage)
	_ = syscall.Madvise(mapped, madvHugepage) // advice only; of a part, it would make three mappings of one
	return mapped, b, nil
}

func unmapMemory(mapped []byte) error {
	if mapped == nil {
		return nil
	}
	return syscall.Munmap(mapped)
}

// memInfo is what the kernel thinks can be had without swapping, and less where a control group of the process allows less. The
// files are those under root.
func memInfo(root string) (free, total int64, err error) {
	system, err := numbers(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0, 0, fmt.Errorf("memory: %w: %v", device.ErrUnavailable, err)
	}
	free, known := system["MemAvailable:"]
	if total = system["MemTotal:"]; !known || total == 0 {
		return 0, 0, fmt.Errorf("memory: %w: /proc/meminfo does not tell", device.ErrUnavailable)
	}
	free, total = free<<10, total<<10
	for _, g := range memoryGroups(root) {
		if limit, used, ok := g.usage(); ok && limit < total {
			free, total = min(free, max(limit-used, 0)), limit
		} else if ok {
			free = min(free, max(limit-used, 0))
		}
	}
	return free, total, nil
}

// numbers reads a file of lines that begin with a name and a number.
func numbers(path string) (map[string]int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 {
			if x, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				out[f[0]] = x
			}
		}
	}
	return out, nil
}

// number reads a file that is one number.
func number(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}
