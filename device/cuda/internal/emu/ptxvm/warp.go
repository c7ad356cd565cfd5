package ptxvm

import "math/bits"

// warp is 32 lanes in lock step. A lane is a bit of a mask.
type warp struct {
	block  *block
	number int
	first  int    // the thread of lane 0
	lanes  uint32 // that the block's size leaves the warp
	live   uint32 // that have not exited

	*registers        // from the first instruction to the last
	specials   []vreg // the values of the kernel's special registers
	stack      []path
	state      warpState
	barrier    uint64 // that the warp waits at
	waitsAt    *inst
	syncedAt   uint32        // the block's clock after the last barrier of the warp
	executed   uint64        // instructions, counted a turn at a time
	cache      []*allocation // the last one each memory instruction used
	scratch    vreg
}

// registers are the registers of a warp. The next warp of the block takes them over, so that they stay in the cache.
type registers struct {
	regs  []vreg
	init  []uint32 // for each register, the lanes that wrote it
	preds []uint32
	pinit []uint32
}

func newRegisters(k *Kernel) *registers {
	r := &registers{make([]vreg, k.regs), make([]uint32, k.regs), make([]uint32, k.preds), make([]uint32, k.preds)}
	for _, c := range k.consts {
		for lane := range warpSize {
			r.regs[c.slot][lane] = c.value
		}
	}
	return r
}

type warpState uint8

const (
	running warpState = iota
	waiting
	exitedState
)

// path is a set of lanes that go together until they are at reconverge, where the path below waits for them.
type path struct {
	pc, reconverge int32
	mask           uint32
}

// nowhere holds no address, so that a warp's first access looks for its allocation.
var nowhere = &allocation{}

func newWarp(b *block, number int) *warp {
	k := b.run.kernel
	w := &warp{block: b, number: number, first: number * warpSize}
	w.lanes = ^uint32(0) >> max(0, warpSize-(b.run.threads-w.first))
	w.cache = make([]*allocation, k.memops)
	for i := range w.cache {
		w.cache[i] = nowhere
	}
	w.specials = make([]vreg, len(k.specials))
	for i, s := range k.specials {
		for lane := range warpSize {
			w.specials[i][lane] = w.laneValue(s.name, lane)
		}
	}
	return w
}

// start makes the warp ready for the block's current number.
func (w *warp) start() {
	for i, s := range w.block.run.kernel.specials {
		if value, ok := w.block.blockValue(s.name); ok {
			for lane := range warpSize {
				w.specials[i][lane] = value
			}
		}
	}
	w.live, w.state, w.syncedAt, w.executed = w.lanes, running, 0, 0
	w.stack = append(w.stack[:0], path{0, -1, w.lanes})
	w.registers = nil
}

// take gives the warp registers, in which nothing but constants and special registers is written.
func (w *warp) take() {
	k := w.block.run.kernel
	w.registers = w.block.takeRegisters()
	clear(w.init)
	clear(w.pinit)
	for _, c := range k.consts {
		w.init[c.slot] = ^uint32(0)
	}
	for i, s := range k.specials {
		w.regs[s.slot], w.init[s.slot] = w.specials[i], ^uint32(0)
	}
	w.preds[0], w.pinit[0] = ^uint32(0), ^uint32(0)
}

// step executes up to n instructions, fewer if the warp exits or waits.
func (w *warp) step(n int) *Fault {
	if w.registers == nil {
		w.take()
	}
	code := w.block.run.kernel.code
	checkRegisters := w.block.run.checks&CheckRegisters != 0
	w.executed += uint64(n)
	var in *inst
	for range n {
		top := &w.stack[len(w.stack)-1]
		for top.pc == top.reconverge || top.mask == 0 {
			w.stack = w.stack[:len(w.stack)-1]
			if len(w.stack) == 0 {
				w.state = exitedState
				w.block.free = append(w.block.free, w.registers)
				return nil
			}
			top = &w.stack[len(w.stack)-1]
		}
		in = &code[top.pc]
		top.pc++
		mask := top.mask
		if checkRegisters {
			if f := w.checkSources(in, mask); f != nil {
				return f
			}
		}
		if mask &= w.preds[in.guard] ^ in.guardFlip; mask == 0 {
			continue
		}
		switch in.op {
		case opALU:
			d := w.result(in, mask)
			in.alu(d, &w.regs[in.src[0]], &w.regs[in.src[1]], &w.regs[in.src[2]], &w.regs[in.src[3]])
			w.keep(in, d, mask)
		case opBranch:
			w.branch(top, in, mask)
		default:
			if f := w.other(in, mask); f != nil {
				return f
			}
			if w.state != running {
				return nil
			}
		}
	}
	if budget := w.block.run.Budget; w.executed > budget {
		return w.fault(Budget, in, 0, 0, "more than %d instructions in one warp", budget)
	}
	return nil
}

// other executes what is neither arithmetic nor a branch.
func (w *warp) other(in *inst, mask uint32) *Fault {
	switch in.op {
	case opSetp:
		c, q := in.cmp(&w.regs[in.src[0]], &w.regs[in.src[1]]), w.preds[in.psrc[0]]^in.flip[0]
		w.setPred(in.pdst[0], in.mode.combine(c, q), mask)
		w.setPred(in.pdst[1], in.mode.combine(^c, q), mask)
	case opPred:
		a, b := w.preds[in.psrc[0]]^in.flip[0], w.preds[in.psrc[1]]^in.flip[1]
		w.setPred(in.pdst[0], in.mode.combine(a, b), mask)
	case opSelp:
		d := w.result(in, mask)
		choose(d, &w.regs[in.src[0]], &w.regs[in.src[1]], w.preds[in.psrc[0]]^in.flip[0])
		w.keep(in, d, mask)
	case opLoad:
		return w.load(in, mask)
	case opStore:
		return w.store(in, mask)
	case opAtomic:
		return w.atomic(in, mask)
	case opLoadParam:
		w.loadParam(in, mask)
	case opBarrier:
		return w.arrive(in, mask)
	case opWarpSync:
		return w.warpSync(in, mask)
	case opShuffle:
		return w.shuffle(in, mask)
	case opVote:
		return w.vote(in, mask)
	case opActive:
		for lane := range warpSize {
			w.scratch[lane] = uint64(mask)
		}
		w.setReg(in.dst, &w.scratch, mask)
	case opExit:
		w.exit(mask)
	case opTrap:
		return w.fault(Trapped, in, bits.TrailingZeros32(mask), 0, "the kernel gave up")
	}
	return nil
}

// branch divides the lanes of a path, unless all go the same way.
func (w *warp) branch(top *path, in *inst, taken uint32) {
	fall := top.mask &^ taken
	if fall == 0 {
		top.pc = in.target
		return
	}
	next := top.pc
	if top.reconverge == in.reconverge {
		// The path below waits there already.
		top.mask, top.pc = fall, next
	} else {
		top.pc = in.reconverge
		w.stack = append(w.stack, path{next, in.reconverge, fall})
	}
	w.stack = append(w.stack, path{in.target, in.reconverge, taken})
}

// exit ends lanes.
func (w *warp) exit(mask uint32) {
	w.live &^= mask
	for i := range w.stack {
		w.stack[i].mask &^= mask
	}
}

// checkSources checks that the active lanes wrote the guard, and those it lets pass what the instruction reads.
func (w *warp) checkSources(in *inst, mask uint32) *Fault {
	if missing := mask &^ w.pinit[in.guard]; missing != 0 {
		return w.unwritten(in, missing, "the guard")
	}
	mask &= w.preds[in.guard] ^ in.guardFlip
	s, p := &in.src, &in.psrc
	written := w.init[s[0]] & w.init[s[1]] & w.init[s[2]] & w.init[s[3]] & w.pinit[p[0]] & w.pinit[p[1]]
	if missing := mask &^ written; missing != 0 {
		return w.unwritten(in, missing, "an operand")
	}
	return nil
}

func (w *warp) unwritten(in *inst, missing uint32, what string) *Fault {
	return w.fault(Register, in, bits.TrailingZeros32(missing), 0, "%s is read before the thread has written it", what)
}

// result is where an instruction may compute all lanes, for keep to take those in mask.
func (w *warp) result(in *inst, mask uint32) *vreg {
	if mask == w.live {
		return &w.regs[in.dst] // the other lanes are gone: what they get does not matter
	}
	return &w.scratch
}

func (w *warp) keep(in *inst, d *vreg, mask uint32) {
	if mask != w.live {
		blend(&w.regs[in.dst], d, mask)
	}
	w.init[in.dst] |= mask
}

func (w *warp) setPred(slot int32, value, mask uint32) {
	if slot >= 0 {
		w.preds[slot] = w.preds[slot]&^mask | value&mask
		w.pinit[slot] |= mask
	}
}

func (w *warp) setReg(slot int32, value *vreg, mask uint32) {
	blend(&w.regs[slot], value, mask)
	w.init[slot] |= mask
}

// choose takes the lanes in mask from a, the others from b.
func choose(d, a, b *vreg, mask uint32) {
	for i := range d {
		v := b[i]
		if mask&1 != 0 {
			v = a[i]
		}
		d[i] = v
		mask >>= 1
	}
}

// blend copies the lanes in mask.
func blend(dst, src *vreg, mask uint32) {
	if mask == ^uint32(0) {
		*dst = *src
		return
	}
	for ; mask != 0; mask &= mask - 1 {
		lane := bits.TrailingZeros32(mask) & (warpSize - 1)
		dst[lane] = src[lane]
	}
}
