package main

import (
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/internal/models"
)

func TestChooseRuns(t *testing.T) {
	for _, test := range []struct {
		name    string
		lengths []int64
		whole   bool
	}{
		{"one", []int64{1}, true},
		{"empty tensors", []int64{0, 5, 0}, true},
		{"small", []int64{4096, 17, 4096}, true},
		{"a million", []int64{1 << 20}, true},
		{"many small", lengths(models.Small10000()), true},
		{"a little more", []int64{1<<20 + 1}, false},
		{"just long", []int64{4097, 1 << 24}, false},
		{"resnet50", lengths(models.ResNet50()), false},
		{"gpt2-xl", lengths(models.GPT2XL()), false},
		{"the largest", []int64{1 << 62}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			total, covered := int64(0), map[int]int64{}
			runs := chooseRuns(test.lengths)
			for i, r := range runs {
				require.Less(t, r.lo, r.hi)
				require.LessOrEqual(t, r.hi, test.lengths[r.tensor])
				if i > 0 && runs[i-1].tensor == r.tensor {
					require.LessOrEqual(t, runs[i-1].hi, r.lo, "runs overlap: run %d of tensor %d", i, r.tensor)
				}
				covered[r.tensor] += r.hi - r.lo
			}
			for i, n := range test.lengths {
				total += n
				if n <= wholeLen {
					assert.Equal(t, n, covered[i], "tensor %d", i)
				} else {
					assert.GreaterOrEqual(t, covered[i], int64(2*endLen), "tensor %d", i)
				}
			}
			assert.Equal(t, test.whole, sampled(runs) == total)
			if !test.whole {
				assert.Greater(t, sampled(runs), int64(between/2))
				assert.Less(t, sampled(runs), int64(4*between))
			}
		})
	}
}

// A long tensor has its head, its tail, and runs at multiples of a prime.
func TestRunsOfALongTensor(t *testing.T) {
	const n = 1 << 26
	runs := chooseRuns([]int64{n})
	assert.Equal(t, run{0, 0, endLen}, runs[0])
	assert.Equal(t, run{0, n - endLen, n}, runs[len(runs)-1])
	stride := runs[1].lo
	assert.True(t, big.NewInt(stride).ProbablyPrime(0), "stride %d", stride)
	for i, r := range runs[1 : len(runs)-1] {
		require.Equal(t, run{0, stride * int64(i+1), stride*int64(i+1) + runLen}, r)
	}
}

func TestPrimeFrom(t *testing.T) {
	for from, want := range map[int64]int64{0: 2, 2: 2, 3: 3, 4: 5, 1000: 1009, 65537: 65537, 1 << 31: 1<<31 + 11} {
		assert.Equal(t, want, primeFrom(from), "%d", from)
	}
	assert.EqualValues(t, period, primeFrom(period), "the patterns' period")
}
