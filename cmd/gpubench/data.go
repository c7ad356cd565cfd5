package main

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/reference"
	"github.com/fusestep/fusestep/kernels/rule"
)

// period is the length of a pattern. It is prime, so that a pattern falls differently on every vector, line and chunk.
const period = 65_537

// What rows and columns of a matrix have tells elements apart. So a matrix that is verified with them repeats rows and columns: element (r, c) is that
// of row r mod periodRows and column c mod periodColumns, and so is what a step makes of it. More rows than a column's sum has in a block, and both
// prime.
const (
	periodRows    = 67
	periodColumns = 257
)

// pattern is elements that repeat: element i is number i mod their number, period but in a part of one. What a buffer should hold can so be told without a copy of
// it, and filling one is a matter of copying.
type pattern struct {
	bits   reference.Plane
	upload func(s *device.Stream, to *device.Buffer, from int64) error // as many as there is place for
}

// newPattern has the elements of these bits.
func newPattern(t device.DType, bits reference.Plane) *pattern {
	switch t {
	case device.Float32:
		return &pattern{bits, uploader(reference.Elements[float32](bits))}
	case device.Float64:
		return &pattern{bits, uploader(reference.Elements[float64](bits))}
	case device.Int16:
		return &pattern{bits, uploader(reference.Elements[int16](bits))}
	case device.Int8:
		return &pattern{bits, uploader(reference.Elements[int8](bits))}
	}
	return &pattern{bits, uploader(reference.Elements[uint16](bits))}
}

func uploader[T device.Element](x []T) func(*device.Stream, *device.Buffer, int64) error {
	return func(s *device.Stream, to *device.Buffer, from int64) error {
		return device.Upload(s, to, x[from:from+int64(to.Len())])
	}
}

// at is element i.
func (p *pattern) at(i int64) uint64 { return p.bits[i%int64(len(p.bits))] }

// of is the pattern of what a matrix of these numbers has of a domain other than elements, and of the elements of one row.
func (p *pattern) of(t device.DType, d rule.Domain, row int64) *pattern {
	first := p.bits[row%periodRows*periodColumns:]
	if d != rule.OfRows {
		return newPattern(t, first[:periodColumns])
	}
	var bits reference.Plane
	for r := range int64(periodRows) {
		bits = append(bits, p.bits[(row+r)%periodRows*periodColumns])
	}
	return newPattern(t, bits)
}

// number is number i of a tensor's elements, rows or columns, filled by fillAs.
func (p *pattern) number(t tensor, d rule.Domain, phase, i int64) uint64 {
	if !t.program.Matrix() {
		return p.at(phase + i)
	}
	i %= each(d, t.Tensor)
	r, c := i+phase, int64(0)
	switch {
	case d == rule.OfColumns:
		r, c = phase, i
	case d == rule.OfElements:
		columns := each(rule.OfColumns, t.Tensor)
		r, c = i/columns+phase, i%columns
	}
	return p.bits[r%periodRows*periodColumns+c%periodColumns]
}

// fillAs enqueues setting what b has, elements, rows or columns of the tensor, as number says: in each matrix the same.
func (p *pattern) fillAs(s *device.Stream, b *device.Buffer, t tensor, d rule.Domain, phase int64) error {
	if !t.program.Matrix() {
		return p.fill(s, b, phase)
	}
	first, err := b.Slice(0, b.Len()/int(t.Matrices()))
	if err == nil {
		err = p.fillMatrix(s, first, t, d, phase)
	}
	if err != nil {
		return err
	}
	return repeat(s, b, first.Len())
}

// fillMatrix is fillAs of one matrix.
func (p *pattern) fillMatrix(s *device.Stream, b *device.Buffer, t tensor, d rule.Domain, phase int64) error {
	if d != rule.OfElements {
		return p.of(b.DType(), d, phase).fill(s, b, 0)
	}
	columns := int(each(rule.OfColumns, t.Tensor))
	block := min(b.Len(), periodRows*columns)
	for lo := 0; lo < block; lo += columns {
		row, err := b.Slice(lo, lo+columns)
		if err != nil {
			return err
		}
		if err := p.of(b.DType(), d, phase+int64(lo/columns)).fill(s, row, 0); err != nil {
			return err
		}
	}
	return repeat(s, b, block)
}

// fillPeriods is how many periods come from the host; copies of them on the device make the rest, as the way from a host to its
// GPU is long. In float32 they are 4 MB, which a CPU's caches still hold.
const fillPeriods = 16

// fill enqueues setting element i of b to p.at(from + i). The pattern must stay as it is until the stream is synchronised.
func (p *pattern) fill(s *device.Stream, b *device.Buffer, from int64) error {
	block := min(b.Len(), fillPeriods*len(p.bits))
	if err := p.some(s, b, from, block); err != nil {
		return err
	}
	return repeat(s, b, block)
}

// repeat enqueues copies of the first elements of b to the others.
func repeat(s *device.Stream, b *device.Buffer, first int) error {
	for lo, n, hi := first, first, 0; lo < b.Len(); lo = hi {
		if n < 1<<20 { // few copies of few elements
			n = lo
		}
		hi = min(lo+n, b.Len())
		src, err := b.Slice(0, hi-lo)
		if err != nil {
			return err
		}
		dst, err := b.Slice(lo, hi)
		if err == nil {
			err = s.Copy(dst, src)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// some is fill of the first n elements.
func (p *pattern) some(s *device.Stream, b *device.Buffer, from int64, n int) error {
	at := int(from % int64(len(p.bits)))
	for lo := 0; lo < n; {
		hi := min(lo+len(p.bits)-at, n)
		part, err := b.Slice(lo, hi)
		if err == nil {
			err = p.upload(s, part, int64(at))
		}
		if err != nil {
			return err
		}
		lo, at = hi, 0
	}
	return nil
}

// tame are numbers to measure on: of both signs, with magnitudes in [scale, 2·scale). As gradients that stay the same from step
// to step they keep long measurements where arithmetic is ordinary: moments grow from zero towards g or g², those of differences
// stay zero, momentum buffers grow towards g/(1-μ), and a parameter moves by about the learning rate a step, in a straight
// line, at most until weight decay balances it. Nothing shrinks towards subnormals, and nothing overflows in any number of
// steps that anybody has the time for.
func tame(rng *rand.Rand, t device.DType, scale float64) *pattern {
	p := make(reference.Plane, period)
	for i := range p {
		x := scale * (1 + rng.Float64()*(1-0x1p-7)) // stays below 2·scale when rounded
		if rng.IntN(2) == 0 {
			x = -x
		}
		p[i] = reference.Bits(t, x)
	}
	return newPattern(t, p)
}

// tameGradient is the scale of gradients to measure on.
const tameGradient = 0x1p-7

// Smallest and largest are of the normal numbers of a type.
var (
	smallest = map[device.DType]float64{device.Float32: 0x1p-126, device.Float64: 0x1p-1022, device.BFloat16: 0x1p-126, device.Float16: 0x1p-14}
	largest  = map[device.DType]float64{device.Float32: math.MaxFloat32, device.Float64: math.MaxFloat64, device.BFloat16: 0x1.fep127, device.Float16: 65504}
)

// wild are numbers to verify on: mostly normally distributed ones times the scale, and among them one in sixteen any bit pattern and one
// in sixteen a value that code gets wrong. With positive, the ordinary ones are not negative: in the state of a rule
// they may be second moments, whose root would be NaN and hide what follows. A remainder is any bits.
func wild(rng *rand.Rand, t device.DType, scale float64, positive bool) *pattern {
	tiny := smallest[t]
	special := []float64{0, math.Copysign(0, -1), 1, -1, tiny, -tiny, tiny / 2, -tiny / 4, 1e30, -1e-30, math.Inf(1), math.Inf(-1), math.NaN()}
	p := make(reference.Plane, period)
	for i := range p {
		switch kind := rng.IntN(16); {
		case kind == 1 || t == device.Int16 || t == device.Int8:
			p[i] = rng.Uint64() >> (64 - 8*t.Size())
		case kind == 0:
			p[i] = reference.Bits(t, special[rng.IntN(len(special))])
		default:
			x := rng.NormFloat64()
			if positive {
				x = math.Abs(x)
			}
			p[i] = reference.Bits(t, scale*x)
		}
	}
	return newPattern(t, p)
}

// moderate are numbers of many magnitudes, which a sum shows to depend on its order, and which hide none of each other. With positive, none is negative.
func moderate(rng *rand.Rand, t device.DType, positive bool) *pattern {
	if t == device.Int16 || t == device.Int8 {
		return wild(rng, t, 1, positive)
	}
	p := make(reference.Plane, period)
	for i := range p {
		x := math.Ldexp(rng.NormFloat64(), rng.IntN(12)-10)
		if positive {
			x = math.Abs(x)
		}
		p[i] = reference.Bits(t, x)
	}
	return newPattern(t, p)
}

// finite are wild numbers, but for the scale in place of what is not finite.
func finite(rng *rand.Rand, t device.DType, scale float64) *pattern {
	p := wild(rng, t, scale, false).bits
	for i, bits := range p {
		if x := reference.Value(t, bits); !(math.Abs(x) <= largest[t]) {
			p[i] = reference.Bits(t, scale)
		}
	}
	return newPattern(t, p)
}

// overflowed is the pattern with one infinity, which is the first.
func (p *pattern) overflowed(t device.DType) *pattern {
	bits := slices.Clone(p.bits)
	bits[0] = reference.Bits(t, math.Inf(1))
	return newPattern(t, bits)
}
