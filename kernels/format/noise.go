package format

import (
	_ "embed"

	"github.com/fusestep/fusestep/device"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:embed noise.go
var noiseSource string

// threefry is Threefry-2x32 with 13 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): 64 bits of a key and a
// counter. For a key, counters and results are one to one.
func threefry(key0, key1, counter0, counter1 uint32) (uint32, uint32) {
	key2 := key0 ^ key1 ^ 0x1bd11bda
	x, y := threefryRounds0(counter0+key0, counter1+key1)
	x, y = threefryRounds4(x+key1, y+(key2+1))
	x, y = threefryRounds0(x+key2, y+(key0+2))
	x, y = x+key0, y+(key1+3)
	x += y
	return x, (y<<17 | y>>15) ^ x
}

// threefryRounds0 are rounds 0 to 3, and 8 to 11, which have the same distances.
func threefryRounds0(x, y uint32) (uint32, uint32) {
	x += y
	y = (y<<13 | y>>19) ^ x
	x += y
	y = (y<<15 | y>>17) ^ x
	x += y
	y = (y<<26 | y>>6) ^ x
	x += y
	return x, (y<<6 | y>>26) ^ x
}

// threefryRounds4 are rounds 4 to 7.
func threefryRounds4(x, y uint32) (uint32, uint32) {
	x += y
	y = (y<<17 | y>>15) ^ x
	x += y
	y = (y<<29 | y>>3) ^ x
	x += y
	y = (y<<16 | y>>16) ^ x
	x += y
	return x, (y<<24 | y>>8) ^ x
}

// word is a whole number below 2²³ as a word.
func word(x float32) uint32 { return rule.ToBits(x+0x1p23) & 0x7fffff }

// noiseKey is the key of the noise of four slots, by a seed and a step, which come in pieces of 16 bits, the lowest first. For a seed, no two
// steps or fours have the same.
func noiseKey(seed0, seed1, seed2, seed3, step0, step1 float32, four uint32) (uint32, uint32) {
	key0, key1 := threefry(word(seed0)|word(seed1)<<16, word(seed2)|word(seed3)<<16, word(step0)|word(step1)<<16, four)
	return key0, key1
}

// NumNoise is how many numbers choose noise: four of a seed and two of a step, each of 16 bits, the lowest first.
const NumNoise = 6

// perDraw is how many slots a draw of 64 bits serves.
const perDraw = 4

var (
	threefryGraph = graph(threefry, device.Float32, noiseSource)
	keyGraph      = graph(noiseKey, device.Float32, noiseSource)
)

// Noise adds what makes the noise of an element for a slot of a rule, by its index there: a word of 16 random bits, the others 0. It depends on
// the NumNoise numbers, the element's index and the slot.
func Noise(b *ir.Builder, numbers []ir.Value, slot int) ir.Value {
	in := append(append([]ir.Value{}, numbers...), b.Word(uint32(slot/perDraw)))
	key := apply(b, keyGraph(), in)
	draw := apply(b, threefryGraph(), append(key, b.Element(false), b.Element(true)))
	half := draw[slot%perDraw/2]
	if slot%2 == 1 {
		return b.Shift(ir.WShr, half, 16)
	}
	return b.Binary(ir.WAnd, half, b.Word(0xffff))
}

// Draws are the noise of a run of elements for four slots.
type Draws []uint64

// Draw draws for a slot and the others of its four, by the NumNoise numbers. The first element has the index.
func Draw[F rule.Float](to Draws, numbers []F, slot int, index uint64) {
	n := (*[NumNoise]F)(numbers)
	key0, key1 := noiseKey(float32(n[0]), float32(n[1]), float32(n[2]), float32(n[3]), float32(n[4]), float32(n[5]), uint32(slot/perDraw))
	for i := range to {
		at := index + uint64(i)
		x, y := threefry(key0, key1, uint32(at), uint32(at>>32))
		to[i] = uint64(y)<<32 | uint64(x)
	}
}

// SameDraw says whether two slots have noise of the same draws.
func SameDraw(slot, other int) bool { return slot/perDraw == other/perDraw }

// Of is the noise of a slot, as Noise makes it.
func (d Draws) Of(slot int, to []uint32) {
	for i, x := range d {
		to[i] = uint32(x>>(slot%perDraw*16)) & 0xffff
	}
}
