package ptxvm

// block runs one block of threads after another; its memory is used again for each.
type block struct {
	run    *run
	number uint64
	index  [3]uint32
	warps  []*warp
	order  []int
	rng    random
	shared *allocation
	free   []*registers

	clock    uint32 // number of barriers so far, of the block and its warps together
	syncedAt uint32 // the clock after the last barrier of the block
}

func newBlock(r *run) *block {
	b := &block{run: r, warps: make([]*warp, r.warps), order: make([]int, r.warps)}
	b.shared = newAllocation(0, r.kernel.sharedSize(r.SharedBytes))
	for i := range b.warps {
		b.warps[i] = newWarp(b, i)
		b.order[i] = i
	}
	return b
}

// start makes the block ready to run as number n of the grid.
func (b *block) start(n uint64) {
	g := b.run.Grid
	b.number = n
	b.index = [3]uint32{uint32(n % uint64(g[0])), uint32(n / uint64(g[0]) % uint64(g[1])), uint32(n / uint64(g[0]) / uint64(g[1]))}
	b.clock, b.syncedAt = 0, 0
	if b.shared.size > 0 {
		fillBytes(b.shared.data, []byte{fill})
		clear(b.shared.init)
		for i := range b.shared.pages {
			b.shared.pages[i].shadowOf = 0
		}
	}
	b.rng = random(b.run.Seed + n*0xd1342543de82ef95)
	for _, w := range b.warps {
		w.start()
	}
}

func (b *block) takeRegisters() *registers {
	if n := len(b.free); n > 0 {
		r := b.free[n-1]
		b.free = b.free[:n-1]
		return r
	}
	if r, ok := b.run.kernel.registers.Get().(*registers); ok {
		return r
	}
	return newRegisters(b.run.kernel)
}

// end keeps the registers for later launches.
func (b *block) end() {
	for _, r := range b.free {
		b.run.kernel.registers.Put(r)
	}
	b.free = nil
}

// quantum is the number of instructions after which the next warp takes its turn, in the natural order.
const quantum = 256

// execute runs the warps in turns, from barrier to barrier.
func (b *block) execute() *Fault {
	for !b.run.stop.Load() {
		steps := quantum
		if b.run.Seed != 0 {
			for i := range b.order {
				j := i + int(b.rng.next()%uint64(len(b.order)-i))
				b.order[i], b.order[j] = b.order[j], b.order[i]
			}
			steps = 1 + int(b.rng.next()%quantum)
		}
		ran := false
		for _, i := range b.order {
			w := b.warps[i]
			if w.state != running {
				continue
			}
			ran = true
			if f := w.step(steps); f != nil {
				return f
			}
		}
		if ran {
			continue
		}
		if done, f := b.release(); done || f != nil {
			return f
		}
	}
	return nil
}

// release ends a barrier that all warps have reached; done tells that all have exited instead.
func (b *block) release() (done bool, f *Fault) {
	var first *warp
	exited := 0
	for _, w := range b.warps {
		switch {
		case w.state == exitedState:
			exited++
		case first == nil:
			first = w
		case w.barrier != first.barrier:
			return false, w.fault(Barrier, w.waitsAt, 0, 0,
				"deadlock: warp %d waits at barrier %d (line %d), warp %d at barrier %d (line %d)",
				first.number, first.barrier, first.waitsAt.line, w.number, w.barrier, w.waitsAt.line)
		}
	}
	if first == nil {
		return true, nil
	}
	if exited > 0 && b.run.checks&CheckBarriers != 0 {
		return false, first.fault(Barrier, first.waitsAt, 0, 0,
			"%d of the block's %d warps exited without reaching the barrier", exited, len(b.warps))
	}
	if b.clock++; b.clock > maxClock {
		return false, first.fault(Budget, first.waitsAt, 0, 0, "more than %d barriers in one block", maxClock)
	}
	b.syncedAt = b.clock
	for _, w := range b.warps {
		if w.state == waiting {
			w.state = running
		}
	}
	return false, nil
}
