package cpu

import (
	"sync"

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
	onceAlone  = prefetching{far: 3 << 10} // from memory, on processors that once names
	shortOnes  = prefetching{near: 1 << 10, far: 2 << 10}
)

// closeBytes is the bytes up to which a work stays so close that prefetching neither helps nor costs: a second-level cache.
//
// cacheBytes is the bytes up to which a work counts as in cache. In a third-level cache both ways are within 2 % of each other; in the
// second, prefetching into it costs up to a quarter. shortBytes is the bytes of a buffer up to which it counts as short. Where such tensors are scattered,
// shortAhead is the bytes ahead, in the order of the tensors, at which a loop prefetches into the second-level cache.
const (
	closeBytes = 1 << 20
	cacheBytes = 32 << 20
	shortBytes = 16 << 10
	shortAhead = 2 << 10
)

// ahead is the prefetching for so many bytes in so many buffers, where prefetching helps at all.
func ahead(bytes, buffers int) prefetching {
	switch {
	case bytes <= cacheBytes:
		return inCache
	case bytes/buffers <= shortBytes:
		return shortOnes
	case once[processorFamily()]:
		return onceAlone
	}
	return fromMemory
}

// prefetching is that of the processor's loops.
func (d *processor) prefetching(bytes, buffers int) prefetching {
	if d.choice.loops == nil || bytes > closeBytes && !prefetches() {
		return prefetching{}
	}
	return ahead(bytes, buffers)
}

// prefetches says whether loops prefetch what comes from memory: on most processors that is a tenth to a quarter faster, on some a sixth slower
// than what they do by themselves. A measurement of milliseconds does not tell which: passes over some 100 KB of memory that caches were
// emptied of were slower with prefetching in 8 to 13 of 15 trials on a Xeon whose steps it makes a sixth faster.
var prefetches = func() bool { return !hinders[processorFamily()] }

// hinders are the processors on which steps were measured and took longer with prefetching, by family and whether there is AVX-512. Those that
// gain are Zen 1 ("AuthenticAMD 23"; 8 to 12 % less time from memory) and a Xeon with AVX-512 ("GenuineIntel 6"; AdamW 32.1 ms instead of 37.5).
var hinders = map[family]bool{
	{"AuthenticAMD 25", true}: true, // Zen 4: traffic of 54.6 GB/s without, 46.5 with
}

// once are the processors on which steps whose tensors come from memory were measured, and took longer where each line is prefetched twice.
var once = map[family]bool{
	{"AuthenticAMD 25", false}: true, // Zen 3: Lion takes 0.88 of the time, LAMB and LARS 0.95, AdamW the same
}

type family struct {
	name string
	wide bool
}

var processorFamily = sync.OnceValue(func() family { return family{cpuinfo.Family(), hasAVX512()} })

// newCode is a loop in executable memory.
func newCode(c *emit.Code, err error) (*exec.Code, error) {
	if err != nil {
		return nil, err
	}
	return exec.New(c.Text)
}
