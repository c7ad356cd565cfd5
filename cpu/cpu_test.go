package cpu_test

import (
	"fmt"
	"testing"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/optim"
)

// Every implementation that the machine has gives the evaluator's bits, on any number of threads.
func TestKernels(t *testing.T) {
	all := cpu.Implementations()
	if len(all) == 1 {
		t.Logf("NOTE: this machine and build run %s alone", all[0])
	}
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
