package ptxvm

import "math/bits"

// arrive is bar.sync: the warp waits until all of the block has come.
func (w *warp) arrive(in *inst, mask uint32) *Fault {
	b := w.block
	first := bits.TrailingZeros32(mask)
	if missing := w.live &^ mask; missing != 0 {
		return w.fault(Barrier, in, bits.TrailingZeros32(missing), 0, "lanes %#x of warp %d are at the barrier, %#x are not",
			mask, w.number, missing)
	}
	if gone := w.lanes &^ w.live; gone != 0 && b.run.checks&CheckBarriers != 0 {
		return w.fault(Barrier, in, bits.TrailingZeros32(gone), 0, "lanes %#x of warp %d exited before the barrier", gone, w.number)
	}
	w.barrier = w.regs[in.src[0]][first] & 0xffffffff
	if in.nsrc > 1 {
		if n := w.regs[in.src[1]][first] & 0xffffffff; n != uint64(b.run.warps*warpSize) && n != uint64(b.run.threads) {
			return w.fault(Barrier, in, first, 0, "a barrier of %d of the block's %d threads is not emulated", n, b.run.threads)
		}
	}
	w.state, w.waitsAt = waiting, in
	return nil
}

// members checks the membermask of an instruction that lanes execute together.
func (w *warp) members(in *inst, operand int32, mask uint32) *Fault {
	of := &w.regs[operand]
	first, other := of[bits.TrailingZeros32(mask)&(warpSize-1)], uint64(0)
	for _, m := range of {
		other |= m ^ first
	}
	if other == 0 && mask&^uint32(first) == 0 && uint32(first)&w.live&^mask == 0 { // nearly always
		return nil
	}
	for m := mask; m != 0; m &= m - 1 {
		lane := bits.TrailingZeros32(m) & (warpSize - 1)
		members := uint32(of[lane])
		if members>>lane&1 == 0 {
			return w.fault(Shuffle, in, lane, 0, "lane %d executes, but is not in membermask %#x", lane, members)
		}
		if missing := members & w.live &^ mask; missing != 0 {
			return w.fault(Shuffle, in, lane, 0, "membermask %#x names lanes %#x, which do not execute", members, missing)
		}
	}
	return nil
}

// warpSync is bar.warp.sync.
func (w *warp) warpSync(in *inst, mask uint32) *Fault {
	if f := w.members(in, in.src[0], mask); f != nil {
		return f
	}
	// A barrier of some lanes orders those only. The clock knows warps, not lanes, so it does not count.
	if mask == w.live {
		if w.block.clock++; w.block.clock > maxClock {
			return w.fault(Budget, in, bits.TrailingZeros32(mask), 0, "more than %d barriers in one block", maxClock)
		}
		w.syncedAt = w.block.clock
	}
	return nil
}

// shuffle is shfl.sync, as PTX defines it.
func (w *warp) shuffle(in *inst, mask uint32) *Fault {
	if f := w.members(in, in.src[3], mask); f != nil {
		return f
	}
	inRange := uint32(0)
	values, bs, cs, mode := &w.regs[in.src[0]], &w.regs[in.src[1]], &w.regs[in.src[2]], in.mode
	for m := mask; m != 0; m &= m - 1 {
		lane := bits.TrailingZeros32(m) & (warpSize - 1)
		b, c := int(bs[lane]&31), int(cs[lane])
		segment := c >> 8 & 31
		limit := lane&segment | c&31&^segment
		var from int
		var ok bool
		switch mode {
		case modeUp:
			from = lane - b
			ok = from >= limit
		case modeDown:
			from = lane + b
			ok = from <= limit
		case modeBfly:
			from = lane ^ b
			ok = from <= limit
		default:
			from = lane&segment | b&^segment
			ok = from <= limit
		}
		if !ok {
			from = lane
		}
		if mask>>from&1 == 0 {
			return w.fault(Shuffle, in, lane, 0, "lane %d reads lane %d, which does not execute", lane, from)
		}
		w.scratch[lane] = values[from&(warpSize-1)]
		inRange |= uint32(btoi(ok)) << lane
	}
	w.setReg(in.dst, &w.scratch, mask)
	w.setPred(in.pdst[0], inRange, mask)
	return nil
}

// vote is vote.sync.
func (w *warp) vote(in *inst, mask uint32) *Fault {
	if f := w.members(in, in.src[0], mask); f != nil {
		return f
	}
	yes := (w.preds[in.psrc[0]] ^ in.flip[0]) & mask
	result := false
	switch in.mode {
	case modeAll:
		result = yes == mask
	case modeAny:
		result = yes != 0
	case modeUni:
		result = yes == mask || yes == 0
	default:
		for lane := range warpSize {
			w.scratch[lane] = uint64(yes)
		}
		w.setReg(in.dst, &w.scratch, mask)
		return nil
	}
	w.setPred(in.pdst[0], ones(result), mask)
	return nil
}
