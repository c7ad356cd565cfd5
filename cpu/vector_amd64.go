//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

// hasAVX2 asks for the conversions of halves, too, which every processor with AVX2 has, but not every virtual machine.
func hasAVX2() bool { return cpu.X86.HasAVX2 && cpu.X86.HasF16C }

// hasAVX512 asks for what the loops use: the foundation, and DQ's sign operations and moves between masks and vectors.
func hasAVX512() bool { return cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ }

// vendor is the first twelve letters of what CPUID says, four in each number.
func vendor() (ebx, edx, ecx uint32)

// prefetch is 1 where fetching ahead by software makes them faster in DRAM.
func prefetch() int {
	ebx, _, _ := vendor()
	if amd := ebx == 'A'|'u'<<8|'t'<<16|'h'<<24; amd && hasAVX512() {
		return 0
	}
	return 1
}
