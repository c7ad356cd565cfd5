package cpu

import (
	"fmt"
	"os"
	"strings"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
)

// instructions is the committed vector code, as asmgen wrote it.
type instructions struct {
	vector     int // bytes of a register
	operations map[int]map[tileOp]operationLoop
	squares    map[int]squaresLoop // by the bytes of an element
}

// squaresLoop adds rows of kernels.NormLanes squares to as many lanes.
type squaresLoop func(lanes *float64, x *byte, rows int)

// implementation is what runs a step's arithmetic. All of them give the same bits.
type implementation struct {
	name  string
	loops *emit.Set     // a loop for the whole rule, made at run time; or
	set   *instructions // a loop for each operation, over tiles in cache; with neither, the rule itself, as the Go compiler made it
}

// Environment is the variable that chooses an implementation, for tests and to look into differences: scalar, avx2-tiles, avx2 or avx512.
const Environment = "FUSESTEP_CPU"

// implementations are those that this machine, system and build can run, the best last.
func implementations() []implementation {
	all := []implementation{{name: "scalar"}}
	if hasAVX2() {
		all = append(all, implementation{name: "avx2-tiles", set: avx2})
	}
	if exec.Available() != nil {
		return all
	}
	if hasAVX2() {
		all = append(all, implementation{name: "avx2", loops: emit.AVX2})
	}
	if hasAVX512() {
		all = append(all, implementation{name: "avx512", loops: avx512Loops()})
	}
	return all
}

// best is the last of implementations.
func best() implementation {
	all := implementations()
	return all[len(all)-1]
}

// choice is an implementation, or why there is none.
type choice struct {
	implementation
	err error
}

// chosen is the implementation that the environment names, or the best. A wrong name is Compile's error.
func chosen() choice {
	name := os.Getenv(Environment)
	if name == "" {
		return choice{implementation: best()}
	}
	for _, i := range implementations() {
		if i.name == name {
			return choice{implementation: i}
		}
	}
	err := fmt.Errorf("cpu: %s=%s: this machine and build can run %s", Environment, name, strings.Join(Implementations(), ", "))
	if reason := exec.Available(); reason != nil {
		err = fmt.Errorf("%w; no machine code that is made at run time: %w", err, reason)
	}
	return choice{err: err}
}

// Implementations are the names of those that this machine, system and build can run, the best last.
func Implementations() (names []string) {
	for _, i := range implementations() {
		names = append(names, i.name)
	}
	return names
}

// MachineCode returns nil if the process may run machine code that it makes, and otherwise why not. Systems can forbid it: Linux by
// PR_SET_MDWE, SELinux or seccomp, macOS by a hardened runtime. Steps then run on tiles, at about a third of the speed in cache.
func MachineCode() error { return exec.Available() }

// Implementation is the name of what runs the device's steps, one of Implementations. It is empty where Environment names none of
// them, which is then Compile's error.
func (d *Device) Implementation() string { return d.processor.choice.name }
