package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a work prefetches depends on its size and on its buffers', and on whether the machine gains by it.
func TestPrefetching(t *testing.T) {
	for _, i := range implementations() {
		d := &processor{choice: choice{implementation: i}}
		if i.loops == nil {
			require.Zero(t, d.prefetching(1<<30, 4), i.name)
			continue
		}
		require.Equal(t, inCache, d.prefetching(16000, 4), "needs no answer")
		want := map[bool]prefetching{true: fromMemory}
		if once[processorFamily()] {
			want[true] = onceAlone
		}
		require.Equal(t, want[prefetches()], d.prefetching(1<<28, 4))
		want[true] = shortOnes
		require.Equal(t, want[prefetches()], d.prefetching(1<<28, 1<<16))
	}
}
