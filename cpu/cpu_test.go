package cpu_test

import (
	"fmt"
	"testing"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
)

// The same bits for any number of threads: each is held to the evaluator.
func TestKernels(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
			kerneltest.Run(t, func(*testing.T) kernels.Backend { return cpu.NewThreads(threads) })
		})
	}
}
