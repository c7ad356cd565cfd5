package cpu

import (
	"slices"
	"sync"
	"time"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
	"github.com/fusestep/fusestep/internal/cpuinfo"
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
// second, prefetching into it costs up to a quarter. shortBytes is the bytes of a buffer up to which it counts as short.
const (
	closeBytes = 1 << 20
	cacheBytes = 32 << 20
	shortBytes = 16 << 10
)

// ahead is the prefetching for so many bytes in so many buffers, where prefetching helps at all.
func ahead(bytes, buffers int) prefetching {
	switch {
	case bytes <= cacheBytes:
		return inCache
	case bytes/buffers <= shortBytes:
		return shortOnes
	}
	return fromMemory
}

// prefetching is that of the processor's loops.
func (d *processor) prefetching(bytes, buffers int) prefetching {
	if set := d.choice.loops; set == nil || bytes > closeBytes && !prefetches[set]() {
		return prefetching{}
	}
	return ahead(bytes, buffers)
}

// prefetches says whether a set's loops prefetch what comes from memory. On some processors that is a tenth to a quarter faster, on others
// a sixth slower than what they do by themselves. Where known does not tell, it is measured when it is first asked for, in 5 to 10
// milliseconds.
var prefetches = map[*emit.Set]func() bool{
	emit.AVX2:   sync.OnceValue(func() bool { return helps(emit.AVX2) }),
	emit.AVX512: sync.OnceValue(func() bool { return helps(emit.AVX512) }),
}

// known says whether prefetching helps on processors on which steps have been measured, by family and whether there is AVX-512.
var known = map[family]bool{
	{"AuthenticAMD 23", false}: true,  // Zen 1: 8 to 12 % less time from memory
	{"AuthenticAMD 25", true}:  false, // Zen 4: traffic of 54.6 GB/s without, 46.5 with
}

type family struct {
	name string
	wide bool
}

func helps(set *emit.Set) bool {
	if yes, ok := known[family{cpuinfo.Family(), hasAVX512()}]; ok {
		return yes
	}
	return calibrate(set) < tooOften
}

// A calibration is some trials. Each makes a pass without prefetching and one with it, over planes as Adam has them: one is read, three are
// written too. Before each pass, caches are emptied of them. Loops prefetch unless that was slower in four trials of five: where it makes no
// difference, that happens in one calibration of fifty by chance, and where it helps, hardly ever, however busy the machine is.
const (
	trials     = 15
	tooOften   = 12
	planes     = 4
	planeBytes = 32 << 10
)

// calibrate is the number of trials in which prefetching was slower; 0 where code cannot be made.
func calibrate(set *emit.Set) (slower int) {
	flush, err := newCode(emit.Flush())
	if err != nil {
		return 0
	}
	var passes [2]*exec.Code
	for i, p := range []prefetching{{}, fromMemory} {
		m := trafficMoves(set, slices.Repeat([]int{4}, planes), 1, 1, p)
		if passes[i], err = newCode(m.Compile()); err != nil {
			return 0
		}
	}
	memory := aligned(make([]byte, planes*planeBytes+cacheLine), planes*planeBytes, cacheLine)
	var at [planes]*byte
	for i := range at {
		at[i] = &memory[i*planeBytes]
	}
	for trial := range trials {
		var took [2]time.Duration
		for k := range passes {
			i := (trial + k) % 2 // who is first changes
			flush.Run(&at[0], nil, nil, len(memory)/cacheLine)
			began := time.Now()
			passes[i].Run(&at[0], nil, nil, planeBytes/4)
			took[i] = time.Since(began)
		}
		if took[1] > took[0] {
			slower++
		}
	}
	return slower
}

// newCode is a loop in executable memory.
func newCode(c *emit.Code, err error) (*exec.Code, error) {
	if err != nil {
		return nil, err
	}
	return exec.New(c.Text)
}
