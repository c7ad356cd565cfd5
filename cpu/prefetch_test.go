package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a work prefetches depends on its size and on its tensors', and on whether the machine gains by it; a calibration finishes.
func TestPrefetching(t *testing.T) {
	for _, i := range implementations() {
		d := &processor{choice: choice{implementation: i}}
		if i.loops == nil {
			require.Zero(t, d.prefetching(1<<30, 4), i.name)
			continue
		}
		slower := calibrate(i.loops)
		require.True(t, 0 <= slower && slower <= trials)
		t.Logf("%s: prefetching was slower in %d of %d trials; it is used: %v", i.name, slower, trials, prefetches[i.loops]())
		require.Equal(t, inCache, d.prefetching(16000, 4), "needs no answer")
		want := map[bool]prefetching{true: fromMemory}
		require.Equal(t, want[prefetches[i.loops]()], d.prefetching(1<<28, 4))
		want[true] = shortOnes
		require.Equal(t, want[prefetches[i.loops]()], d.prefetching(1<<28, 1<<16))
	}
}
