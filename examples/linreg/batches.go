package main

import "math/rand/v2"

// batches deals out the rows: all of them in an epoch, in a new order each time, in batches of one size. Where the size
// does not divide the rows, the last batch of an epoch is short: it neither runs off the end nor takes a row twice.
type batches struct {
	rng   *rand.Rand
	order []int
	size  int
	next  int
}

func newBatches(rows, size int, seed uint64) *batches {
	b := &batches{rng: rand.New(rand.NewPCG(seed, 0)), size: size, next: rows}
	for i := range rows {
		b.order = append(b.order, i)
	}
	return b
}

// take returns the next batch. It stays as it is until the next epoch begins.
func (b *batches) take() []int {
	if b.next >= len(b.order) {
		b.next = 0
		if b.size < len(b.order) { // the order of a full batch is only noise in the last bit
			b.rng.Shuffle(len(b.order), func(i, k int) { b.order[i], b.order[k] = b.order[k], b.order[i] })
		}
	}
	lo, hi := b.next, min(b.next+b.size, len(b.order))
	b.next = hi
	return b.order[lo:hi]
}

// share is the part of a whole batch that batch k of a run is. The learning rate is multiplied by it, so that each row weighs
// the same in an epoch, and so do the penalties.
func share(rows, size, k int) float64 {
	perEpoch := (rows + size - 1) / size
	if k%perEpoch == perEpoch-1 && rows%size != 0 {
		return float64(rows%size) / float64(size)
	}
	return 1
}
