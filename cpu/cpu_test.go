package cpu_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/optim"
)

// TestImplementations says what this machine and build have tested.
func TestImplementations(t *testing.T) {
	all := cpu.Implementations()
	t.Logf("implementations on this machine: %s", strings.Join(all, ", "))
	for _, name := range []string{"avx2", "avx512"} {
		if !slices.Contains(all, name) {
			t.Logf("NOTE: NO %s HERE: ITS CODE WAS NOT RUN", strings.ToUpper(name))
		}
	}
}

// Every implementation that the machine has gives the evaluator's bits, on several threads, and the best some rules also on one. With -short,
// the older instruction set's and most rules are left out, under the race detector all but two, and all implementations but the best: what threads do
// is the same.
func TestKernels(t *testing.T) {
	all, rules := cpu.Implementations(), optim.Rules()
	if testing.Short() {
		rules = rules[:5]
	}
	if cpu.RaceEnabled {
		rules = rules[:2]
	}
	small := *cpu.SmallBytes
	defer func() { *cpu.SmallBytes = small }()
	best := all[len(all)-1]
	for _, name := range all {
		if (testing.Short() && name == "avx2" || cpu.RaceEnabled) && best != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Setenv(cpu.Environment, name)
			for _, threads := range []int{5, 1} {
				if threads == 1 && (name != best || testing.Short()) {
					continue
				}
				of := rules
				if threads == 1 {
					of = rules[:min(5, len(rules))]
				}
				t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
					open := func(*testing.T) kernels.Backend { return cpu.NewThreads(threads) }
					kerneltest.Run(t, of, open)
					if name == best && threads > 1 {
						kerneltest.RunNames(t, open)
					}
					if name == best && threads > 1 && !cpu.RaceEnabled {
						*cpu.SmallBytes = 8 << 10 // most tensors go through a pass together
						kerneltest.Run(t, nil, open)
						*cpu.SmallBytes = small
					}
				})
			}
		})
	}
}

// Sums of so many tiles and blocks that they are added up in one more level. All implementations have that tree from one function.
func TestKernelsLevels(t *testing.T) {
	if cpu.RaceEnabled || testing.Short() {
		t.Skip("bits alone are looked at here, of a long tensor")
	}
	b := cpu.NewThreads(2)
	defer b.Close()
	kerneltest.Levels(t, b)
}
