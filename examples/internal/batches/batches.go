// Package batches deals out the rows of a training set.
package batches

import "math/rand/v2"

// Batches deals all rows in an epoch, in a new order each time, in batches of one size. Where the size does not divide the
// rows, the last batch of an epoch is short: it neither runs off the end nor takes a row twice.
type Batches struct {
	rng   *rand.Rand
	order []int
	size  int
	next  int
}

// New deals rows 0 to rows-1. The order depends on the seed alone: rand.Shuffle by rand.NewPCG(seed, 0), each epoch's
// starting from the order of the one before.
func New(rows, size int, seed uint64) *Batches {
	b := &Batches{rng: rand.New(rand.NewPCG(seed, 0)), size: size, next: rows}
	for i := range rows {
		b.order = append(b.order, i)
	}
	return b
}

// Take returns the next batch. It stays as it is until the next epoch begins.
func (b *Batches) Take() []int {
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

// InEpoch is how many batches an epoch has.
func InEpoch(rows, size int) int { return (rows + size - 1) / size }
