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

// Every implementation that the machine has gives the evaluator's bits, on any number of threads.
func TestKernels(t *testing.T) {
	all := cpu.Implementations()
	threadCounts := []int{1, 5}
	if testing.Short() {
		threadCounts = []int{5}
	}
	for _, name := range all {
		t.Run(name, func(t *testing.T) {
			t.Setenv(cpu.Environment, name)
			for _, threads := range threadCounts {
				t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
					kerneltest.Run(t, optim.Rules(), func(*testing.T) kernels.Backend { return cpu.NewThreads(threads) })
				})
			}
		})
	}
}
