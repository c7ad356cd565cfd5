package ptxvm

import (
	"math/bits"
	"slices"
	"sync"
)

// page is the unit of locking: a part of an allocation with its shadows. The lock is held during an access, so that
// blocks that run in parallel are atomic for one another, and Go's race detector sees no race whatever a kernel does.
type page struct {
	mu       sync.Mutex
	data     []byte
	init     []uint64
	shadow   []record // of races, one for each 1 << grain bytes
	shadowOf uint64   // the launch whose accesses it holds
	grain    uint
}

const (
	pageShift = 14
	pageSize  = 1 << pageShift
)

// track makes the page's shadow ready for an access of a launch, of 1 << grain bytes. The lock must be held.
//
// A shadow starts with the grain of its first access: accesses are aligned, so as long as none is smaller, a record's bytes
// all have the same history. A smaller one splits the records.
func (p *page) track(launch uint64, grain uint) {
	n := (len(p.data)-1)>>grain + 1
	switch {
	case p.shadowOf != launch:
		p.shadowOf, p.grain = launch, grain
		p.shadow = slices.Grow(p.shadow[:0], n)[:n]
		clear(p.shadow)
	case grain < p.grain:
		p.shadow = slices.Grow(p.shadow, n-len(p.shadow))[:n]
		for i := n - 1; i >= 0; i-- {
			p.shadow[i] = p.shadow[i>>(p.grain-grain)]
		}
		p.grain = grain
	}
}

// fillBytes repeats a pattern over b.
func fillBytes(b, pattern []byte) {
	for n := copy(b, pattern); n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// setBits sets n bits from bit off on.
func setBits(set []uint64, off, n uint64) {
	for n > 0 {
		k := min(64-off%64, n)
		set[off/64] |= ^uint64(0) >> (64 - k) << (off % 64)
		off, n = off+k, n-k
	}
}

// firstClear is the index, from off, of the first clear bit among n, or n.
func firstClear(set []uint64, off, n uint64) uint64 {
	for done := uint64(0); done < n; {
		at := off + done
		k := min(64-at%64, n-done)
		if c := uint64(bits.TrailingZeros64(^(set[at/64] >> (at % 64)))); c < k {
			return done + c
		}
		done += k
	}
	return n
}

// copyBits copies n bits, also between overlapping ranges of one set.
func copyBits(dst []uint64, dstOff uint64, src []uint64, srcOff, n uint64) {
	if dstOff%64 == 0 && srcOff%64 == 0 && n%64 == 0 {
		copy(dst[dstOff/64:], src[srcOff/64:][:n/64])
		return
	}
	words := make([]uint64, 0, (n+63)/64)
	for i := uint64(0); i < n; i += 64 {
		words = append(words, getBits(src, srcOff+i, min(64, n-i)))
	}
	for i := uint64(0); i < n; {
		at := dstOff + i
		k := min(64-at%64, n-i)
		mask := ^uint64(0) >> (64 - k) << (at % 64)
		dst[at/64] = dst[at/64]&^mask | getBits(words, i, k)<<(at%64)
		i += k
	}
}

// getBits is k bits, at most 64, from bit off on.
func getBits(set []uint64, off, k uint64) uint64 {
	v := set[off/64] >> (off % 64)
	if off%64+k > 64 {
		v |= set[off/64+1] << (64 - off%64)
	}
	return v & (^uint64(0) >> (64 - k))
}
