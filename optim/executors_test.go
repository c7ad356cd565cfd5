package optim_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/cpu"
	"github.com/fusestep/fusestep/internal/gpu"
	"github.com/fusestep/fusestep/kernels"
)

// onExecutors runs a test on everything that runs a step here: each implementation of the CPU, and the emulated GPU in builds that
// have one. Under the race detector it is the CPU's best implementation alone: what goroutines do is the same with each.
func onExecutors(t *testing.T, test func(t *testing.T, b kernels.Backend)) {
	names := cpu.Implementations()
	if raceDetector {
		names = names[len(names)-1:]
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Setenv(cpu.Environment, name)
			dev := cpu.NewThreads(1)
			defer dev.Close()
			test(t, dev)
		})
	}
	if gpu.Built {
		t.Run("emulated GPU", func(t *testing.T) {
			dev, err := gpu.Open("emu")
			require.NoError(t, err)
			defer dev.Device().Close()
			test(t, dev)
		})
	}
}
