package cpu

import (
	"fmt"
	"os"
	"strings"
)

// instructions is vector code for one instruction set, as asmgen wrote it.
type instructions struct {
	vector     int             // bytes of a register
	updates    map[string]Loop // the fused loops, by the fingerprint of the graph that each computes
	operations map[int]map[tileOp]operationLoop
	traffics   map[traffics]Loop
	squares    map[int]squaresLoop  // by the bytes of an element
	halve      func(lanes *float64) // adds lanes apart, from half of them down to a vector's
	touch      func(x *byte, n int) // prefetches
}

// traffics says what a traffic loop moves: how many slots are read, and how many are read and written besides.
type traffics struct{ read, written int }

// squaresLoop adds rows of kernels.NormLanes squares into as many lanes.
type squaresLoop func(lanes *float64, x *byte, rows int)

// implementation is what runs a step's arithmetic. All of them give the same bits.
type implementation struct {
	name  string
	set   *instructions // nil: the rule itself, as the Go compiler made it, element by element
	fused bool          // a loop for the whole rule where there is one; otherwise a loop for each operation, over tiles in cache
}

// Environment is the variable that chooses an implementation, for tests and to look into differences: scalar, avx2-tiles, avx2,
// avx512-tiles or avx512.
const Environment = "FUSESTEP_CPU"

// implementations are those that this machine and build can run, the best last.
func implementations() []implementation {
	all := []implementation{{name: "scalar"}}
	if hasAVX2() {
		all = append(all, implementation{"avx2-tiles", avx2, false}, implementation{"avx2", avx2, true})
	}
	if hasAVX512() {
		all = append(all, implementation{"avx512-tiles", avx512, false}, implementation{"avx512", avx512, true})
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
	var names []string
	for _, i := range implementations() {
		if i.name == name {
			return choice{implementation: i}
		}
		names = append(names, i.name)
	}
	return choice{err: fmt.Errorf("cpu: %s=%s: this machine and build can run %s", Environment, name, strings.Join(names, ", "))}
}

// Implementations are the names of those that this machine and build can run, the best last.
func Implementations() (names []string) {
	for _, i := range implementations() {
		names = append(names, i.name)
	}
	return names
}
