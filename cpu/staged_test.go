package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/kerneltest"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A step by several passes allocates nothing, whether tensors are large or small and whatever runs it.
func TestStagedAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector, sync.Pool drops what it is given at random")
	}
	defer func(old int) { smallBytes = old }(smallBytes)
	smallBytes = 20_000
	for _, of := range []int{0, 3} {
		stagedAllocations(t, rule.Setting{Rule: kerneltest.Staged(t)[of], Hyper: []float64{0.1, 0.9}})
	}
}

func stagedAllocations(t *testing.T, setting rule.Setting) {
	p := newProgram(t, kernels.Spec{Rule: setting.Rule, Options: 1, Compute: device.Float32, Formats: "grad=bf16"})
	for _, implementation := range implementations() {
		d := NewThreads(2)
		defer d.Close()
		d.processor.choice = choice{implementation: implementation}
		m := newMovable(t, d, p, []int{1, 1000, 0, 130_000, 17, 3000, 20_000})
		in := kernels.Step{Groups: make([]kernels.GroupStep, groups)}
		for i := range in.Groups {
			in.Groups[i] = kernels.GroupStepOf(setting, setting.Hyper)
		}
		step := func() {
			require.NoError(t, m.updates[0].Enqueue(d.DefaultStream(), in))
			require.NoError(t, d.DefaultStream().Synchronize())
		}
		least := testing.AllocsPerRun(20, step)
		for i := 0; i < 10 && least > 0; i++ { // a garbage collection empties a sync.Pool
			least = min(least, testing.AllocsPerRun(20, step))
		}
		require.Zero(t, least, implementation.name)
	}
}
