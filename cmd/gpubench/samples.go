package main

import "math/big"

// run is elements lo to hi of a tensor, to be verified.
type run struct {
	tensor int
	lo, hi int64
}

const (
	wholeLen = 4096    // tensors up to this length are verified whole
	endLen   = 256     // of longer ones, so many elements at each end
	runLen   = 64      // and runs of so many between: every lane of a vector, wherever the run starts
	between  = 1 << 20 // about as many elements in all such runs as this
)

// chooseRuns chooses what is verified of tensors of the lengths: all of it where that is not too much. The runs of a long tensor start at multiples of a prime, so that
// no power of two, such as a vector or a chunk, sees only the same few of its places.
func chooseRuns(lengths []int64) (runs []run) {
	long := int64(0)
	for _, n := range lengths {
		if n > wholeLen {
			long += n
		}
	}
	stride := primeFrom(long / (between / runLen))
	for t, n := range lengths {
		if n <= wholeLen || long <= between {
			if n > 0 {
				runs = append(runs, run{t, 0, n})
			}
			continue
		}
		runs = append(runs, run{t, 0, endLen})
		for lo := (endLen + stride - 1) / stride * stride; lo+runLen <= n-endLen; lo += stride {
			runs = append(runs, run{t, lo, lo + runLen})
		}
		runs = append(runs, run{t, n - endLen, n})
	}
	return runs
}

// primeFrom is the first prime from n on.
func primeFrom(n int64) int64 {
	for !big.NewInt(n).ProbablyPrime(0) { // exact below 2⁶⁴
		n++
	}
	return n
}

// sampled is the number of elements in the runs.
func sampled(runs []run) (n int64) {
	for _, r := range runs {
		n += r.hi - r.lo
	}
	return n
}
