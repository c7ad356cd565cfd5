package cpu

import (
	"fmt"
	"os"
	"strings"
)

// implementation is what runs a step's arithmetic. All of them give the same bits.
type implementation uint8

const (
	// scalar is the rule itself, as the Go compiler made it, element by element.
	scalar implementation = iota
	// tiles is a loop of AVX2 for each operation of the rule, over tiles that stay in cache.
	tiles
	// avx2 is a loop for the whole rule, where one was generated for its options, and otherwise tiles.
	avx2
)

var implementationNames = []string{"scalar", "tiles", "avx2"}

func (i implementation) String() string { return implementationNames[i] }

// Environment is the variable that chooses an implementation, for tests and to look into differences: scalar, tiles or avx2.
const Environment = "FUSESTEP_CPU"

// implementations are those that this machine can run, the best last.
func implementations() []implementation {
	if !hasAVX2() {
		return []implementation{scalar}
	}
	return []implementation{scalar, tiles, avx2}
}

// choice is an implementation, or why there is none.
type choice struct {
	implementation
	err error
}

// chosen is the implementation that the environment names, or the best. A wrong name is Compile's error.
func chosen() choice {
	all := implementations()
	name := os.Getenv(Environment)
	if name == "" {
		return choice{implementation: all[len(all)-1]}
	}
	var names []string
	for _, i := range all {
		if i.String() == name {
			return choice{implementation: i}
		}
		names = append(names, i.String())
	}
	return choice{err: fmt.Errorf("cpu: %s=%s: this machine and build can run %s", Environment, name, strings.Join(names, ", "))}
}
