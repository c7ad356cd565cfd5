//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

// hasAVX2 asks for the conversions of halves and for FMA, too, which every processor with AVX2 has, but not every virtual machine.
func hasAVX2() bool { return cpu.X86.HasAVX2 && cpu.X86.HasF16C && cpu.X86.HasFMA }

// hasAVX512 asks for what the loops use: the foundation, and DQ's sign operations and moves between masks and vectors.
func hasAVX512() bool { return cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ }
