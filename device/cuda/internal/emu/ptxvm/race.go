package ptxvm

import "fmt"

// stamp tells who touched a granule of memory, and when. From the top: block (28 bits), thread in the block (10), clock of
// the block (20), flags. The zero stamp is nobody.
type stamp uint64

// record is what the shadow knows of one granule: its last write and its reads since.
type record struct{ write, read stamp }

const (
	stampValid      stamp = 1 << iota
	stampStrong           // by atomic or volatile accesses only
	stampReadOnly         // some of them through the read-only cache
	stampManyLanes        // by several threads of the warp
	stampManyWarps        // by several warps of the block
	stampManyBlocks       // by several blocks

	clockShift  = 6
	maxClock    = 1<<20 - 1
	threadShift = 26
	warpShift   = threadShift + 5
	blockShift  = 36
	maxBlocks   = 1 << 28
)

func (s stamp) clock() uint32 { return uint32(s>>clockShift) & maxClock }

// synced tells whether a barrier lies between an access and one that warp w makes now. A barrier of the block orders the
// block, one of the warp orders the warp.
func (w *warp) synced(old, now stamp) bool {
	if old>>blockShift != now>>blockShift || old&stampManyBlocks != 0 {
		return false
	}
	if old.clock() < w.block.syncedAt {
		return true
	}
	return old>>warpShift == now>>warpShift && old&stampManyWarps == 0 && old.clock() < w.syncedAt
}

// ordered tells whether an access happened before one that warp w makes now.
func (w *warp) ordered(old, now stamp) bool {
	if old>>threadShift == now>>threadShift && (old|now)&(stampManyLanes|stampManyWarps|stampManyBlocks) == 0 {
		return true
	}
	return w.synced(old, now)
}

// conflict tells whether two accesses, at least one of them a write, race.
func (w *warp) conflict(old, now stamp) bool {
	return old != 0 && old&now&stampStrong == 0 && !w.ordered(old, now) && w.block.run.checks&CheckRaces != 0
}

// merge joins the stamps of accesses that do not order one another: no later one may race with either.
func (w *warp) merge(old, now stamp) stamp {
	if old == 0 || w.synced(old, now) {
		return now | old&stampReadOnly
	}
	s := now | old&(stampReadOnly|stampManyLanes|stampManyWarps|stampManyBlocks)
	s &= old | ^stampStrong
	switch {
	case old>>blockShift != now>>blockShift:
		s |= stampManyLanes | stampManyWarps | stampManyBlocks
	case old>>warpShift != now>>warpShift:
		s |= stampManyLanes | stampManyWarps
	case old>>threadShift != now>>threadShift:
		s |= stampManyLanes
	}
	return s
}

// noteRead records a read of the granules, and tells the kind of a fault, or 0, and the access it collides with.
func (w *warp) noteRead(shadow []record, now stamp) (Kind, stamp) {
	for i := range shadow {
		r := &shadow[i]
		if r.write|r.read == 0 { // nearly always
			r.read = now
			continue
		}
		if r.write != 0 {
			if now&stampReadOnly != 0 && w.block.run.checks&CheckReadOnly != 0 {
				return ReadOnly, r.write
			}
			if w.conflict(r.write, now) {
				return Race, r.write
			}
		}
		if r.read != now {
			r.read = w.merge(r.read, now)
		}
	}
	return 0, 0
}

// noteWrite records a write, as noteRead does a read. An atomic update is a strong write.
func (w *warp) noteWrite(shadow []record, now stamp) (Kind, stamp) {
	for i := range shadow {
		r := &shadow[i]
		switch {
		case r.write == 0 && r.read == now && now&stampStrong == 0: // what an update in place does
			r.write, r.read = now, 0
		case r.read&stampReadOnly != 0 && w.block.run.checks&CheckReadOnly != 0:
			return ReadOnly, r.read
		case w.conflict(r.write, now):
			return Race, r.write
		case w.conflict(r.read, now):
			return Race, r.read
		case now&stampStrong != 0:
			r.write = w.merge(r.write, now)
		default:
			r.write, r.read = now, 0
		}
	}
	return 0, 0
}

// who describes the other side of a race.
func (w *warp) who(s stamp) string {
	if s&stampManyBlocks != 0 {
		return "threads of several blocks"
	}
	r := w.block.run
	thread := r.thread(int(s >> threadShift & (maxBlockThreads - 1)))
	where := fmt.Sprintf("thread (%d,%d,%d) of block number %d", thread[0], thread[1], thread[2], uint64(s>>blockShift))
	if s&(stampManyLanes|stampManyWarps) != 0 {
		where += " and others of it"
	}
	return where
}
