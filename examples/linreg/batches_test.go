package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/examples/internal/batches"
)

// TestShare checks that the shares of an epoch's batches are theirs of the rows.
func TestShare(t *testing.T) {
	for _, rows := range []int{1, 16, 36} {
		for _, size := range []int{1, 3, 7, 8, rows} {
			if size > rows {
				continue
			}
			t.Run(fmt.Sprintf("%d of %d", size, rows), func(t *testing.T) {
				b := batches.New(rows, size, 1)
				for k := range 3 * batches.InEpoch(rows, size) {
					require.InDelta(t, float64(len(b.Take())), share(rows, size, k)*float64(size), 1e-12, "step %d", k)
				}
			})
		}
	}
}
