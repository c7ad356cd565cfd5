package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBatches checks that an epoch deals every row once, whatever the batch, and that shares add up to the rows.
func TestBatches(t *testing.T) {
	for _, rows := range []int{1, 16, 36} {
		for _, size := range []int{1, 3, 7, 8, rows} {
			if size > rows {
				continue
			}
			t.Run(fmt.Sprintf("%d of %d", size, rows), func(t *testing.T) {
				b := newBatches(rows, size, 1)
				k := 0
				for epoch := range 3 {
					var seen []int
					for len(seen) < rows {
						rowsOf := b.take()
						require.NotEmpty(t, rowsOf)
						require.InDelta(t, float64(len(rowsOf)), share(rows, size, k)*float64(size), 1e-12, "step %d", k)
						seen = append(seen, rowsOf...)
						k++
					}
					slices.Sort(seen)
					for i := range rows {
						require.Equal(t, i, seen[i], "epoch %d", epoch)
					}
					require.Len(t, seen, rows)
				}
			})
		}
	}
}

func TestSeed(t *testing.T) {
	deal := func(seed uint64) (out []int) {
		b := newBatches(36, 5, seed)
		for range 20 {
			out = append(out, b.take()...)
		}
		return out
	}
	require.Equal(t, deal(1), deal(1))
	require.NotEqual(t, deal(1), deal(2))
}
