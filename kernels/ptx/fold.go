package ptx

import (
	"math"

	"github.com/fusestep/fusestep/kernels"
)

// A fold is what the threads of a tile make of its numbers by the tree of package kernels: their sum, or the largest. Each keeps some of the
// tree's lanes, side by side.
type fold struct {
	*writer
	threads int // of a tile
	max     bool
	name    func(lane int) string // of the registers
}

// lanes is how many a thread keeps.
func (f *fold) lanes() int { return kernels.NormLanes / f.threads }

func (f *fold) lane(l int) string { return f.reg("f64", f.name(l)) }

// begin makes of each lane what it is without numbers.
func (f *fold) begin() {
	for l := range f.lanes() {
		f.none(l)
	}
}

// none makes of a lane what it is without numbers.
func (f *fold) none(l int) {
	none := imm("f64", 0)
	if f.max {
		none = imm("f64", math.Inf(-1))
	}
	f.op("mov.f64 %s, %s", f.lane(l), none)
}

// take takes a number into a lane. The largest of numbers with a NaN is that.
func (f *fold) take(l int, x string) {
	if !f.max {
		f.op("add.rn.f64 %s, %s, %s", f.lane(l), f.lane(l), x)
		return
	}
	more, nan := f.reg("pred", "is_more"), f.reg("pred", "is_nan")
	f.op("setp.lt.f64 %s, %s, %s", more, f.lane(l), x)
	f.op("setp.neu.f64 %s, %s, %s", nan, x, x)
	f.op("or.pred %s, %s, %s", more, more, nan)
	f.op("selp.f64 %s, %s, %s, %s", f.lane(l), x, f.lane(l), more)
}

// halve halves the lanes until the tile's first thread has all in its first one.
func (f *fold) halve() {
	f.comment("lanes %d to %d apart are %d to 1 threads apart", kernels.NormLanes/2, f.lanes(), f.threads/2)
	for d := f.threads / 2; d > 0; d /= 2 {
		f.join(d)
	}
	f.joinOwn()
}

// join takes into each lane that of the thread so many further on.
func (f *fold) join(threads int) {
	for l := range f.lanes() {
		lo, hi, other := f.reg("b32", "lo"), f.reg("b32", "hi"), f.reg("f64", "other")
		f.op("mov.b64 {%s, %s}, %s", lo, hi, f.lane(l))
		f.op("shfl.sync.down.b32 %s, %s, %d, 31, 0xffffffff", lo, lo, threads)
		f.op("shfl.sync.down.b32 %s, %s, %d, 31, 0xffffffff", hi, hi, threads)
		f.op("mov.b64 %s, {%s, %s}", other, lo, hi)
		f.take(l, other)
	}
}

// joinOwn takes a thread's lanes into its first one.
func (f *fold) joinOwn() {
	for d := f.lanes() / 2; d > 0; d /= 2 {
		for l := range d {
			f.take(l, f.lane(l+d))
		}
	}
}
