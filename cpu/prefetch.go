package cpu

import (
	"slices"
	"sync"
	"time"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
)

// prefetching is how a loop prefetches each slot.
type prefetching struct {
	near int // bytes ahead, into the first-level cache; 0: not
	far  int // into the second-level cache
}

// Prefetching for works that stay in a cache, and for those that come from memory: there a core can wait for more lines in its
// second-level cache than in the first. In short tensors, what lies far ahead is often another one's, or nobody's.
var (
	inCache    = prefetching{near: 3 << 10}
	fromMemory = prefetching{near: 2 << 10, far: 3 << 10}
	shortOnes  = prefetching{near: 1 << 10, far: 2 << 10}
)

// closeBytes is the bytes up to which a work stays so close that prefetching neither helps nor costs: a second-level cache.
//
// cacheBytes is the bytes up to which a work counts as in cache. In a third-level cache both ways are within 2 % of each other; in the
// second, prefetching into it costs up to a quarter. shortBytes is the bytes of a slot up to which tensors count as short.
const (
	closeBytes = 1 << 20
	cacheBytes = 32 << 20
	shortBytes = 16 << 10
)

// ahead is the prefetching for so many elements in so many tensors, each of some slots with elements of some bytes, where prefetching
// helps at all.
func ahead(elements, tensors, slots, size int) prefetching {
	switch {
	case elements*slots*size <= cacheBytes:
		return inCache
	case elements*size <= tensors*shortBytes:
		return shortOnes
	}
	return fromMemory
}

// prefetching is that of the driver's loops.
func (d *driver) prefetching(elements, tensors, slots, size int) prefetching {
	if set := d.choice.loops; set == nil || elements*slots*size > closeBytes && !prefetches[set]() {
		return prefetching{}
	}
	return ahead(elements, tensors, slots, size)
}

// prefetches says whether a set's loops prefetch what comes from memory. On some processors that is a tenth to a quarter faster, on others
// a sixth slower than what they do by themselves. It is measured when it is first asked for. Where it makes little difference, either answer is right.
var prefetches = map[*emit.Set]func() bool{
	emit.AVX2:   sync.OnceValue(func() bool { return calibrate(emit.AVX2) <= slower }),
	emit.AVX512: sync.OnceValue(func() bool { return calibrate(emit.AVX512) <= slower }),
}

// A calibration is some trials. Each makes a pass without prefetching and one with it, over planes as Adam has them: one is read, three are
// written too. Before each pass, caches are emptied of them. It takes about two milliseconds. Loops do not prefetch if that makes them slower.
const (
	trials     = 7
	planes     = 4
	planeBytes = 64 << 10
	slower     = 1.03
)

// calibrate is the time of a pass with prefetching over that of one without, as the median over trials; 1 where code cannot be made.
func calibrate(set *emit.Set) float64 {
	flush, err := newCode(emit.Flush())
	if err != nil {
		return 1
	}
	var passes [2]*exec.Code
	for i, p := range []prefetching{{}, fromMemory} {
		m := trafficMoves(set, slices.Repeat([]int{4}, planes), 1, 1, p)
		if passes[i], err = newCode(m.Compile()); err != nil {
			return 1
		}
	}
	memory := aligned(make([]byte, planes*planeBytes+cacheLine), planes*planeBytes, cacheLine)
	var at [planes]*byte
	for i := range at {
		at[i] = &memory[i*planeBytes]
	}
	var ratios []float64
	for range trials {
		var took [2]float64
		for i, code := range passes {
			flush.Run(&at[0], nil, nil, len(memory)/cacheLine)
			began := time.Now()
			code.Run(&at[0], nil, nil, planeBytes/4)
			took[i] = time.Since(began).Seconds()
		}
		ratios = append(ratios, took[1]/took[0])
	}
	slices.Sort(ratios)
	return ratios[trials/2]
}

// newCode is a loop in executable memory.
func newCode(c *emit.Code, err error) (*exec.Code, error) {
	if err != nil {
		return nil, err
	}
	return exec.New(c.Text)
}
