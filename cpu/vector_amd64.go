//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

func hasAVX2() bool { return cpu.X86.HasAVX2 }

// hasAVX512 asks for what the loops use: the foundation, and DQ's sign operations and moves between masks and vectors.
func hasAVX512() bool { return cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ }
