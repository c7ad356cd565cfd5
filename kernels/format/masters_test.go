package format

import (
	"fmt"
	"math"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
)

// teLoad and teStore are Transformer Engine's, of its AdamFunctorMasterParamRemainder: the bits of a master of two int16, and back.
func teLoad(weight, remainder int16) uint32 {
	if remainder < 0 {
		weight--
	}
	return uint32(uint16(weight))<<16 | uint32(uint16(remainder))
}

func teStore(bits uint32) (weight, remainder int16) {
	weight, remainder = int16(bits>>16), int16(bits&0xffff)
	if remainder < 0 {
		weight++
	}
	return weight, remainder
}

func isNaN(bits uint32) bool { return bits&0x7fffffff > 0x7f800000 }

func isNaN16(w uint16) bool { return w&0x7fff > 0x7f80 }

// changes are the NaNs whose weight would be none, and what becomes of their bits.
func changes(bits uint32) (as uint32, changed bool) {
	switch magnitude := bits & 0x7fffffff; {
	case magnitude > 0x7f800000 && magnitude < 0x7f808000:
		return bits + 0x400000, true
	case magnitude >= 0x7fff8000:
		return bits - 0x8000, true
	}
	return bits, false
}

// nearest24 are the bits of the nearest number that has 24, the even one of two, found by comparing distances; what is beyond the largest
// is infinite. x is no NaN.
func nearest24(bits uint32) uint32 {
	number := func(bits uint32) float64 {
		if bits&0x7fffffff == 0x7f800000 {
			return math.Copysign(0x1p128, float64(math.Float32frombits(bits)))
		}
		return float64(math.Float32frombits(bits))
	}
	if bits&0x7fffffff == 0x7f800000 {
		return bits
	}
	x, low, high := number(bits), bits&^0xff, bits&^0xff+0x100
	switch below, above := math.Abs(x-number(low)), math.Abs(number(high)-x); {
	case below < above || below == above && low&0x100 == 0:
		return low
	}
	return high
}

// pairs are the two planes of a format, with graphs beside its functions.
type pairs struct {
	*Format
	encoder, decoder *ir.Evaluator[float32]
	number           bool // the second plane is a float32
}

func newPairs(t *testing.T, name string) *pairs {
	f := must(t, name, device.Float32)
	p := &pairs{Format: f, number: f.planes[1].Type == ir.Float}
	fields := []ir.Field{{Name: "weight", Type: f.planes[0].Type}, {Index: 1, Name: "second", Type: f.planes[1].Type}, {Bank: 1, Name: "x"}}
	b := ir.NewBuilder(name, 32, fields)
	p.decoder = ir.NewEvaluator[float32](b.Func([]ir.Value{b.Var(0), b.Var(1), f.Decode(b, []ir.Value{b.Var(0), b.Var(1)})}))
	b = ir.NewBuilder(name, 32, fields)
	encoded := f.Encode(b, b.Var(2), 0)
	p.encoder = ir.NewEvaluator[float32](b.Func([]ir.Value{encoded[0], encoded[1], b.Var(2)}))
	return p
}

// encode is the graph, of numbers.
func (p *pairs) encode(x []float32) (weights, seconds []uint32) {
	weights, seconds = make([]uint32, len(x)), make([]uint32, len(x))
	vars, words := [][]float32{nil, nil, x}, [][]uint32{weights, seconds, nil}
	if p.number {
		vars[1], words[1] = make([]float32, len(x)), nil
	}
	p.encoder.RunEach(len(x), vars, words)
	for i, master := range vars[1] {
		seconds[i] = math.Float32bits(master)
	}
	return weights, seconds
}

// decode is the graph, of the planes: the numbers' bits.
func (p *pairs) decode(weights, seconds []uint32) (bits []uint32) {
	x := make([]float32, len(weights))
	vars, words := [][]float32{nil, nil, x}, [][]uint32{weights, seconds, nil}
	if p.number {
		vars[1], words[1] = make([]float32, len(x)), nil
		for i, s := range seconds {
			vars[1][i] = math.Float32frombits(s)
		}
	}
	p.decoder.RunEach(len(x), vars, words)
	for _, x := range x {
		bits = append(bits, math.Float32bits(x))
	}
	return bits
}

// want is what the planes of a number should be.
func (p *pairs) want(bits uint32) (weight uint16, second uint32) {
	if p.number {
		x := math.Float32frombits(bits)
		if p.planes[0].DType == device.Float16 {
			return uint16(encodeFloat16(x)), bits
		}
		return uint16(encodeBFloat16(x)), bits // which TestEncode holds to the nearest
	}
	bits, _ = p.kept(bits)
	w, r := teStore(bits)
	if p.planes[1].DType == device.Int8 {
		return uint16(w), uint32(uint16(r) >> 8)
	}
	return uint16(w), uint32(uint16(r))
}

// kept are the bits that a number comes back with.
func (p *pairs) kept(bits uint32) (as uint32, changed bool) {
	eight := p.planes[1].DType == device.Int8
	switch {
	case p.number:
		return bits, false
	case isNaN(bits):
		if as, changed = changes(bits); eight {
			as &^= 0xff
		}
		return as, changed
	case eight:
		return nearest24(bits), false
	}
	return bits, false
}

// memory is room for elements of the second plane, and what is in it.
func (p *pairs) memory(n int) (plane []byte, at func(i int) uint32) {
	switch p.planes[1].DType.Size() {
	case 4:
		x := make([]uint32, n)
		return bytes(x), func(i int) uint32 { return x[i] }
	case 2:
		x := make([]uint16, n)
		return bytes(x), func(i int) uint32 { return uint32(x[i]) }
	}
	x := make([]uint8, n)
	return x, func(i int) uint32 { return uint32(x[i]) }
}

// check fails unless Store, Load and the graphs keep what they must of numbers, and returns how many NaNs changed.
func (p *pairs) check(t *testing.T, x []uint32) (changed int) {
	numbers, weights, back := make([]float32, len(x)), make([]uint16, len(x)), make([]float32, len(x))
	for i, bits := range x {
		numbers[i] = math.Float32frombits(bits)
	}
	plane, second := p.memory(len(x))
	planes := [][]byte{bytes(weights), plane}
	Store(p.Format, planes, numbers, nil)
	Load(p.Format, back, planes)
	graphWeights, graphSeconds := p.encode(numbers)
	graphBack := p.decode(graphWeights, graphSeconds)
	for i, bits := range x {
		w, r := p.want(bits)
		kept, other := p.kept(bits)
		if other {
			changed++
		}
		if weights[i] != w || second(i) != r || graphWeights[i] != uint32(w) || graphSeconds[i] != r {
			t.Fatalf("%s: %#08x becomes %#04x, %#x by Store, %#04x, %#x by the graph, want %#04x, %#x", p, bits, weights[i], second(i), graphWeights[i], graphSeconds[i], w, r)
		}
		if got := math.Float32bits(back[i]); got != kept || graphBack[i] != kept {
			t.Fatalf("%s: %#08x comes back as %#08x by Load, %#08x by the graph, want %#08x", p, bits, got, graphBack[i], kept)
		}
		if isNaN(bits) != isNaN(kept) || p.planes[0].DType == device.BFloat16 && isNaN(bits) != isNaN16(w) {
			t.Fatalf("%s: %#08x has the weight %#04x and comes back as %#08x", p, bits, w, kept)
		}
	}
	return changed
}

// checkPairs fails unless pairs decode as Transformer Engine's do, and come back as they were if they are no NaN.
func (p *pairs) checkPairs(t *testing.T, weight uint16, remainders []uint32) {
	n, shift := len(remainders), 16-8*p.planes[1].DType.Size()
	weights, numbers, graphWeights := make([]uint16, n), make([]float32, n), make([]uint32, n)
	plane, _ := p.memory(n)
	for i, r := range remainders {
		weights[i], graphWeights[i] = weight, uint32(weight)
		if shift == 0 {
			plane[2*i], plane[2*i+1] = uint8(r), uint8(r>>8)
		} else {
			plane[i] = uint8(r)
		}
	}
	Load(p.Format, numbers, [][]byte{bytes(weights), plane})
	graph := p.decode(graphWeights, remainders)
	backWeights, back := p.encode(numbers)
	for i, r := range remainders {
		want := teLoad(int16(weight), int16(uint16(r<<shift)))
		if got := math.Float32bits(numbers[i]); got != want || graph[i] != want {
			t.Fatalf("%s: %#04x, %#x is %#08x by Load, %#08x by the graph, want %#08x", p, weight, r, got, graph[i], want)
		}
		if !isNaN(want) && (backWeights[i] != uint32(weight) || back[i] != r) {
			t.Fatalf("%s: %#04x, %#x comes back as %#04x, %#x", p, weight, r, backWeights[i], back[i])
		}
	}
}

// edges are halves of numbers that carries, signs and ends of ranges depend on.
var edges = []uint32{0, 1, 2, 0x3f, 0x40, 0x7e, 0x7f, 0x80, 0x81, 0xff, 0x100, 0x17f, 0x180, 0x181, 0x4000, 0x7eff, 0x7f00, 0x7f01, 0x7f7f, 0x7f80,
	0x7f81, 0x7fbf, 0x7fc0, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0x807f, 0x8080, 0x80ff, 0x8100, 0xff7f, 0xff80, 0xff81, 0xffbf, 0xffc0, 0xfffe, 0xffff}

var masterNames = []string{"bf16+f32", "f16+f32", "bf16+i16", "bf16+i8"}

// Every upper half of a number with the lower halves of edges, and the reverse.
func TestMasters(t *testing.T) {
	for _, name := range masterNames {
		t.Run(name, func(t *testing.T) {
			p := newPairs(t, name)
			x := make([]uint32, 0, len(edges))
			for upper := range uint32(1 << 16) {
				x = x[:0]
				for _, lower := range edges {
					x = append(x, upper<<16|lower)
				}
				p.check(t, x)
				if !p.number {
					p.checkPairs(t, uint16(upper), p.remainders(edges))
				}
			}
			all := make([]uint32, 1<<16)
			for _, upper := range edges {
				for lower := range all {
					all[lower] = upper<<16 | uint32(lower)
				}
				p.check(t, all)
				if !p.number {
					p.checkPairs(t, uint16(upper), p.remainders(all))
				}
			}
		})
	}
}

// remainders are those of words that have so many bits.
func (p *pairs) remainders(x []uint32) (out []uint32) {
	mask := uint32(1)<<(8*p.planes[1].DType.Size()) - 1
	for _, r := range x {
		out = append(out, r&mask)
	}
	return out
}

// TestMastersAll is TestMasters for all float32s, and for all pairs. It takes minutes.
func TestMastersAll(t *testing.T) {
	if !*exhaustive {
		t.Skip("without -exhaustive")
	}
	const shards = 1 << 6
	for _, name := range masterNames {
		t.Run(name, func(t *testing.T) {
			var changed atomic.Int64
			t.Run("all", func(t *testing.T) {
				for shard := range uint32(shards) {
					t.Run(fmt.Sprint(shard), func(t *testing.T) {
						t.Parallel()
						p, x := newPairs(t, name), make([]uint32, 1<<16)
						for upper := shard; upper < 1<<16; upper += shards {
							for lower := range x {
								x[lower] = upper<<16 | uint32(lower)
							}
							changed.Add(int64(p.check(t, x)))
							if n := 1 << (8 * p.planes[1].DType.Size()); !p.number {
								p.checkPairs(t, uint16(upper), p.remainders(x[:n]))
							}
						}
					})
				}
			})
			want := int64(0)
			if must(t, name, device.Float32).planes[1].Type != ir.Float {
				want = 2 * ((1<<23 - 1) - 127<<16) // as many NaNs as there are more than NaN weights with remainders
			}
			require.Equal(t, want, changed.Load(), "NaNs that changed")
		})
	}
}
