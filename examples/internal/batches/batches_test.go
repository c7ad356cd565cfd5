package batches

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTake checks that an epoch deals every row once, whatever the batch.
func TestTake(t *testing.T) {
	for _, rows := range []int{1, 16, 36} {
		for _, size := range []int{1, 3, 7, 8, rows} {
			if size > rows {
				continue
			}
			t.Run(fmt.Sprintf("%d of %d", size, rows), func(t *testing.T) {
				b := New(rows, size, 1)
				for epoch := range 3 {
					var seen []int
					for range InEpoch(rows, size) {
						batch := b.Take()
						require.NotEmpty(t, batch)
						seen = append(seen, batch...)
					}
					slices.Sort(seen)
					require.Len(t, seen, rows)
					for i := range rows {
						require.Equal(t, i, seen[i], "epoch %d", epoch)
					}
				}
			})
		}
	}
}

func TestSeed(t *testing.T) {
	deal := func(seed uint64) (out []int) {
		b := New(36, 5, seed)
		for range 20 {
			out = append(out, b.Take()...)
		}
		return out
	}
	require.Equal(t, deal(1), deal(1))
	require.NotEqual(t, deal(1), deal(2))
}
