package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A shape is a tensor to be made.
type shape struct {
	n       int
	rows    int                 // of a program with rows; 0: any
	batch   int                 // matrices that these rows are of; 0 is one
	offset  func(plane int) int // elements from an aligned address, 0 to 3
	pairs   bool                // every pair of special numbers, the gradient's and a state's
	tame    bool                // where one number changes all, all are ordinary
	cancels bool                // all are ordinary but large ones that cancel each other out
}

func (s shape) String() string {
	if s.batch > 1 {
		return fmt.Sprintf("%d matrices of %d rows of %d elements at offset %d", s.batch, s.rows/s.batch, s.n/s.rows, s.offset(0))
	}
	if s.rows > 0 {
		return fmt.Sprintf("%d rows of %d elements at offset %d", s.rows, s.n/s.rows, s.offset(0))
	}
	return fmt.Sprintf("%d elements at offset %d", s.n, s.offset(0))
}

// straight are tensors whose planes lie equally far from an aligned address: at every offset, but long ones at one.
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

// summed are what sums have to be tried on beside: tensors of several tiles that lie where whole vectors can be and, in full, of several rows of
// such, and more tensors than a block of a GPU's has threads.
func summed(full bool) []shape {
	var all []shape
	add := func(n int) { all = append(all, shape{n: n, offset: func(int) int { return 0 }}) }
	add(2*kernels.NormTile + 900)
	for i := 0; full && i < 16; i++ {
		add(300 + 40*i)
	}
	for i := 0; full && i < 260; i++ {
		add(1)
	}
	return all
}

// apart are tensors of which one plane or two of n lie otherwise than the rest, so that no vector fits all.
func apart(n int) []shape {
	var all []shape
	add := func(by int, odd ...int) {
		all = append(all, shape{n: 33, offset: func(plane int) int {
			if slices.Contains(odd, plane) {
				return by
			}
			return 0
		}})
	}
	for k := range n {
		for by := 1; by < 4; by++ {
			add(by, k)
		}
		for other := range k {
			add(1, other, k)
		}
	}
	return all
}

// pairs are as long as it takes for every pair of special numbers. The offsets bring each to every place in a vector, and to
// no vector.
func pairs(p *kernels.Program) []shape {
	n := len(special(p.Compute))
	all := append(straight(n*n), shape{n: n * n, offset: func(plane int) int { return plane % 2 }})
	for i := range all {
		all[i].pairs = true
	}
	return all
}

// numbers is how many elements, rows or columns the tensor has.
func (s shape) numbers(d rule.Domain) int { return kernels.Numbers(d, s.n, s.rows, s.batch) }

// first is where the tensor starts in a plane's buffer.
func (s shape) first(plane int) int { return guard + s.offset(plane) }

// special are the values that code gets wrong, as bits of the type, with those that one step of a moving average brings to them: the
// limit of what is flushed to zero and the numbers next to it, and the least number.
func special(t device.DType) []uint64 { return specials[t] }

// specials are special of each type, made once: they are asked for with each tensor.
var specials = map[device.DType][]uint64{}

func init() {
	for _, t := range []device.DType{device.Float32, device.Float64, device.BFloat16, device.Float16, device.Int16, device.Int8} {
		specials[t] = specialOf(t)
	}
}

func specialOf(t device.DType) (out []uint64) {
	if size := 8 * t.Size(); integer(t) { // as many as of the other types
		for i := range uint64(5) {
			out = append(out, 1<<(size-1)-2+i, 1<<(size-2)-2+i, i, (1<<size-5)+i)
		}
		return out
	}
	tiny := map[device.DType]float64{device.Float32: 0x1p-126, device.Float64: 0x1p-1022, device.BFloat16: 0x1p-126, device.Float16: 0x1p-14}[t]
	limit := reference.Bits(t, tiny)
	below, above := reference.Value(t, limit-1), reference.Value(t, limit+1)
	for _, x := range []float64{0, math.Copysign(0, -1), 1, -1, tiny, -tiny, 2 * tiny, -2 * tiny, below, 2 * below, -2 * below, 2 * above,
		reference.Value(t, 1), tiny / 2, -tiny / 4, math.Inf(1), math.Inf(-1), math.NaN(), 1e30, -1e-30} {
		out = append(out, reference.Bits(t, x))
	}
	return out
}

// integer says whether elements are remainders.
func integer(t device.DType) bool { return t == device.Int16 || t == device.Int8 }

// fillPairs fills a plane of a slot. The parameter is mostly zero, as its decay would move the gradient from its special value.
func fillPairs(rng *rand.Rand, role kernels.Role, t device.DType, x reference.Plane) {
	special := special(t)
	for i := range x {
		switch role {
		case kernels.Gradient:
			x[i] = special[i%len(special)]
		case kernels.Parameter:
			if x[i] = 0; rng.IntN(4) == 0 {
				x[i] = special[rng.IntN(len(special))]
			}
		default:
			x[i] = special[i/len(special)]
		}
	}
}

// numbers are ordinary ones, any bit patterns and the values that code gets wrong.
func numbers(rng *rand.Rand, t device.DType, n int) reference.Plane {
	special := special(t)
	x := make(reference.Plane, n)
	for i := range x {
		switch kind := rng.IntN(4); {
		case kind == 0:
			x[i] = special[rng.IntN(len(special))]
		case kind == 1 || integer(t):
			x[i] = rng.Uint64() >> (64 - 8*t.Size())
		default:
			x[i] = reference.Bits(t, rng.NormFloat64())
		}
	}
	return x
}

// kind is what a tensor's numbers are.
type kind uint8

const (
	wild       kind = iota // any
	tame                   // ordinary, of many magnitudes, so that sums depend on their order
	infinite               // such, and one infinity in each plane
	undefined              // such, and one NaN
	negative               // such, and all negative or zero
	cancelling             // ordinary, and large ones of changing sign, whose sum is often 0, so that also a sum that is rounded to float32 depends on their order
)

// kindOf is the kind of a work's tensor. Elements are each for themselves, so that they are any; but one that is not finite makes a sum that hides all others.
func kindOf(p *kernels.Program, s shape, tensor int) kind {
	switch {
	case len(p.Passes) == 1:
		return wild
	case s.tame:
		return tame
	case s.cancels:
		return cancelling
	case p.Rule.Everything: // beside a NaN nothing would show
		return tame
	case p.Matrix():
		return []kind{tame, cancelling, wild, tame, infinite, negative, cancelling, undefined}[tensor%8]
	}
	return []kind{tame, wild, tame, infinite, negative, tame, undefined}[tensor%7]
}

// numbers are some of the kind.
func (k kind) numbers(rng *rand.Rand, t device.DType, n int) reference.Plane {
	if k == wild || integer(t) {
		return numbers(rng, t, n)
	}
	x := make(reference.Plane, n)
	spread, large := 20, 0x1p60 // of exponents
	if t == device.Float16 {
		spread, large = 8, 0x1p12
	}
	for i := range x {
		y := math.Ldexp(rng.NormFloat64(), rng.IntN(2*spread)-spread)
		if rng.IntN(16) == 0 {
			y = 0
		}
		if k == negative {
			y = -math.Abs(y)
		}
		if k == cancelling && rng.IntN(12) == 0 {
			y, large = large, -large
		}
		x[i] = reference.Bits(t, y)
	}
	if n := len(x) - 2*guard; n > 0 && (k == infinite || k == undefined) {
		y := math.Inf(1 - 2*rng.IntN(2))
		if k == undefined {
			y = math.NaN()
		}
		x[guard+rng.IntN(n)] = reference.Bits(t, y)
	}
	return x
}

// limit takes out what sums must not have.
func (k kind) limit(t device.DType, x reference.Plane) {
	for i := range x {
		if y := reference.Value(t, x[i]); k != wild && !integer(t) && !(math.Abs(y) <= 1e20) {
			x[i] = reference.Bits(t, 1)
		}
	}
}
