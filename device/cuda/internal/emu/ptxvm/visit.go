package ptxvm

import "math/bits"

// shape is how the addresses of a warp's lanes lie to one another.
type shape uint8

const (
	scattered  shape = iota
	contiguous       // lane i directly behind lane i-1, all 32 lanes active
	uniform          // all the same
)

// shape classifies the addresses of an access.
func (w *warp) shape(in *inst, mask uint32) shape {
	m := in.mem
	base := &w.regs[in.src[0]]
	first := base[bits.TrailingZeros32(mask)&(warpSize-1)] & m.wrap
	other := uint64(0)
	if mask == ^uint32(0) && base[1]&m.wrap != first {
		at := first
		for _, a := range base {
			other |= a&m.wrap ^ at
			at += m.bytes
		}
		if other == 0 {
			return contiguous
		}
		return scattered
	}
	for lane, a := range base {
		other |= (a&m.wrap ^ first) & -uint64(mask>>lane&1)
	}
	if other == 0 {
		return uniform
	}
	return scattered
}

// address is where a lane's access begins.
func (w *warp) address(in *inst, lane int) uint64 {
	return w.regs[in.src[0]][lane]&in.mem.wrap + in.mem.offset
}

// resolve finds the page of a lane's address, and the offset there.
func (w *warp) resolve(in *inst, lane int) (*page, uint64, *Fault) {
	m := in.mem
	addr := w.address(in, lane)
	if addr&(m.bytes-1) != 0 {
		return nil, 0, w.fault(Misaligned, in, lane, addr, "%#x is not a multiple of %d", addr, m.bytes)
	}
	a := w.cache[m.cache]
	if m.space == spaceShared {
		a = w.block.shared
	}
	off := addr - a.base
	if off >= a.size || a.size-off < m.bytes {
		if m.space == spaceShared {
			return nil, 0, w.fault(IllegalAddress, in, lane, addr, "%#x is outside the block's %d bytes of shared memory", addr, a.size)
		}
		mem := w.block.run.memory
		if a = mem.find(addr); a == nil || a.freed || addr-a.base >= a.size || a.size-(addr-a.base) < m.bytes {
			kind, msg := mem.describe(addr)
			return nil, 0, w.fault(kind, in, lane, addr, "%s", msg)
		}
		w.cache[m.cache] = a
		off = addr - a.base
	}
	return &a.pages[off>>pageShift], off & (pageSize - 1), nil
}

// visit tells what an access is, for the shadows.
type visit struct {
	in      *inst
	write   bool
	reads   bool // and what it reads must be initialized
	tracked bool // in the shadow of races
	id      uint64
	grain   uint  // the access's bytes are 1 << grain
	stamp   stamp // of lane 0
}

func (w *warp) visit(in *inst, mask uint32, reads, write bool) visit {
	r, m := w.block.run, in.mem
	if r.Trace != nil && m.space != spaceShared {
		for ; mask != 0; mask &= mask - 1 {
			addr := w.address(in, bits.TrailingZeros32(mask)&(warpSize-1))
			if reads {
				r.Trace(addr, m.bytes, false)
			}
			if write {
				r.Trace(addr, m.bytes, true)
			}
		}
	}
	v := visit{in: in, write: write, reads: reads && r.checks&CheckMemory != 0, tracked: r.checks&(CheckRaces|CheckReadOnly) != 0}
	if !v.tracked {
		return v
	}
	v.id, v.grain = r.id, uint(bits.TrailingZeros64(m.bytes))
	v.stamp = stampValid | stamp(w.block.clock)<<clockShift | stamp(w.first)<<threadShift | stamp(w.block.number)<<blockShift
	if m.strong {
		v.stamp |= stampStrong
	}
	if m.nc {
		v.stamp |= stampReadOnly
	}
	return v
}

// enter locks a page for a visit.
func (v *visit) enter(p *page) {
	p.mu.Lock()
	if v.tracked {
		p.track(v.id, v.grain)
	}
}

// touch checks and records a lane's access to a locked page.
func (w *warp) touch(v *visit, p *page, off uint64, lane int, many stamp) *Fault {
	n := v.in.mem.bytes
	if v.reads && firstClear(p.init, off, n) < n {
		return w.unwrittenMemory(v, p, off, lane)
	}
	if v.tracked {
		now := v.stamp + stamp(lane)<<threadShift | many
		if kind, other := w.note(v, p.shadow[off>>p.grain:(off+n)>>p.grain], now); kind != 0 {
			return w.collision(v, lane, kind, other)
		}
	}
	if v.write {
		setBits(p.init, off, n)
	}
	return nil
}

// touchRow is touch for all lanes of a contiguous access.
func (w *warp) touchRow(v *visit, p *page, off uint64) *Fault {
	bytes := v.in.mem.bytes
	if v.reads {
		if at := firstClear(p.init, off, warpSize*bytes); at < warpSize*bytes {
			lane := at / bytes
			return w.unwrittenMemory(v, p, off+lane*bytes, int(lane))
		}
	}
	if v.tracked {
		each := bytes >> p.grain
		shadow := p.shadow[off>>p.grain:][:warpSize*each]
		now := v.stamp
		for lane := range warpSize {
			if kind, other := w.note(v, shadow[:each], now); kind != 0 {
				return w.collision(v, lane, kind, other)
			}
			shadow = shadow[each:]
			now += 1 << threadShift
		}
	}
	if v.write {
		setBits(p.init, off, warpSize*bytes)
	}
	return nil
}

func (w *warp) unwrittenMemory(v *visit, p *page, off uint64, lane int) *Fault {
	n, addr := v.in.mem.bytes, w.address(v.in, lane)
	at := firstClear(p.init, off, n)
	return w.fault(Uninitialized, v.in, lane, addr+at, "nobody wrote byte %d of the %d at %#x", at, n, addr)
}

// note records an access in the shadow of races.
func (w *warp) note(v *visit, shadow []record, now stamp) (Kind, stamp) {
	if v.write {
		return w.noteWrite(shadow, now)
	}
	return w.noteRead(shadow, now)
}

func (w *warp) collision(v *visit, lane int, kind Kind, other stamp) *Fault {
	addr := w.address(v.in, lane)
	return w.fault(kind, v.in, lane, addr, "%d bytes at %#x, also accessed by %s", v.in.mem.bytes, addr, w.who(other))
}
