package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/fusestep/fusestep/kernels/rule"
)

// A shape is a tensor to be made.
type shape struct {
	n      int
	offset func(slot int) int // elements from an aligned address, 0 to 3
	pairs  bool               // every pair of special numbers, the gradient's and a state's
}

func (s shape) String() string {
	return fmt.Sprintf("%d elements at offset %d", s.n, s.offset(0))
}

// straight are tensors whose slots lie equally far from an aligned address: at every offset, but long ones at one.
func straight(lengths ...int) []shape {
	var all []shape
	for _, n := range lengths {
		for offset := range 4 {
			if n <= 1023 || offset == 1 {
				all = append(all, shape{n: n, offset: func(int) int { return offset }})
			}
		}
	}
	return all
}

// short are tensors of every length up to two vectors and a bit of the widest, each at one offset.
func short() []shape {
	var all []shape
	for n := range 131 {
		all = append(all, shape{n: n, offset: func(int) int { return n / 4 % 4 }})
	}
	return all
}

// apart are tensors of which one slot or two of those used lie otherwise than the rest, so that no vector fits all.
func apart(used []int) []shape {
	var all []shape
	add := func(by int, odd ...int) {
		all = append(all, shape{n: 33, offset: func(slot int) int {
			if slices.Contains(odd, slot) {
				return by
			}
			return 0
		}})
	}
	for i, k := range used {
		for by := 1; by < 4; by++ {
			add(by, k)
		}
		for _, other := range used[:i] {
			add(1, other, k)
		}
	}
	return all
}

// pairs are as long as it takes for every pair of special numbers. The offsets bring each to every place in a vector, and to
// no vector.
func pairs[F rule.Float](r *rule.Rule) []shape {
	n := len(special[F]())
	all := append(straight(n*n), shape{n: n * n, offset: func(slot int) int { return slot % 2 }})
	for i := range all {
		all[i].pairs = true
	}
	return all
}

// first is where the tensor starts in a slot's buffer.
func (s shape) first(slot int) int { return guard + s.offset(slot) }

// special are the values that code gets wrong, with those that one step of a moving average brings to them: the limit of
// what is flushed to zero and the numbers next to it, and the least number.
func special[F rule.Float]() []F {
	tiny := rule.SmallestNormal[F]()
	below, above, least := tiny, tiny, F(math.SmallestNonzeroFloat32)
	switch v := any(&below).(type) {
	case *float32:
		*v = math.Nextafter32(*v, 0)
		*any(&above).(*float32) = math.Nextafter32(*v, 1)
	case *float64:
		*v = math.Nextafter(*v, 0)
		*any(&above).(*float64) = math.Nextafter(*v, 1)
		*any(&least).(*float64) = math.SmallestNonzeroFloat64
	}
	return []F{0, F(math.Copysign(0, -1)), 1, -1, tiny, -tiny, 2 * tiny, -2 * tiny, below, 2 * below, -2 * below, 2 * above, least, tiny / 2, -tiny / 4,
		F(math.Inf(1)), F(math.Inf(-1)), F(math.NaN()), 1e30, -1e-30}
}

// fillPairs fills a slot. The parameter is mostly zero, as its decay would move the gradient from its special value.
func fillPairs[F rule.Float](rng *rand.Rand, r *rule.Rule, slot int, x []F) {
	special := special[F]()
	for i := range x {
		switch slot {
		case r.Slot(rule.Grad):
			x[i] = special[i%len(special)]
		case r.Slot(rule.Param):
			if x[i] = 0; rng.IntN(4) == 0 {
				x[i] = special[rng.IntN(len(special))]
			}
		default:
			x[i] = special[i/len(special)]
		}
	}
}

// numbers are ordinary ones, any bit patterns and the values that code gets wrong.
func numbers[F rule.Float](rng *rand.Rand, n int) []F {
	special := special[F]()
	x := make([]F, n)
	for i := range x {
		switch rng.IntN(4) {
		case 0:
			x[i] = special[rng.IntN(len(special))]
		case 1:
			x[i] = F(math.Float64frombits(rng.Uint64()))
			if v, ok := any(x).([]float32); ok {
				v[i] = math.Float32frombits(rng.Uint32())
			}
		default:
			x[i] = F(rng.NormFloat64())
		}
	}
	return x
}
