package ptxvm

import "math/bits"

// each calls f for each active lane's address, with its page locked and the access checked.
func (w *warp) each(v *visit, mask uint32, f func(lane int, b []byte)) *Fault {
	var held *page
	var fault *Fault
	for ; mask != 0; mask &= mask - 1 {
		lane := bits.TrailingZeros32(mask) & (warpSize - 1)
		p, off, bad := w.resolve(v.in, lane)
		if fault = bad; fault != nil {
			break
		}
		if p != held {
			if held != nil {
				held.mu.Unlock()
			}
			v.enter(p)
			held = p
		}
		if fault = w.touch(v, p, off, lane, 0); fault != nil {
			break
		}
		f(lane, p.data[off:off+v.in.mem.bytes])
	}
	if held != nil {
		held.mu.Unlock()
	}
	return fault
}

// row resolves and checks a contiguous access, if it lies in one page: the page is locked then, and must be unlocked.
func (w *warp) row(v *visit) (*page, []byte, *Fault) {
	bytes := v.in.mem.bytes
	p, off, fault := w.resolve(v.in, 0)
	if fault != nil {
		return nil, nil, fault
	}
	if uint64(len(p.data))-off < warpSize*bytes {
		return nil, nil, nil
	}
	v.enter(p)
	if fault := w.touchRow(v, p, off); fault != nil {
		p.mu.Unlock()
		return nil, nil, fault
	}
	return p, p.data[off : off+warpSize*bytes], nil
}

func (w *warp) load(in *inst, mask uint32) *Fault {
	m := in.mem
	v := w.visit(in, mask, true, false)
	for _, slot := range m.regs {
		w.init[slot] |= mask
	}
	switch w.shape(in, mask) {
	case contiguous:
		p, b, fault := w.row(&v)
		if fault != nil {
			return fault
		}
		if p != nil {
			w.gather(m, b)
			p.mu.Unlock()
			return nil
		}
	case uniform:
		return w.loadUniform(&v, mask)
	}
	return w.each(&v, mask, func(lane int, b []byte) {
		for i, slot := range m.regs {
			w.regs[slot][lane] = m.get(b[uint64(i)*m.size:])
		}
	})
}

// loadUniform reads once for all lanes: scalars and tables are read so.
func (w *warp) loadUniform(v *visit, mask uint32) *Fault {
	lane := bits.TrailingZeros32(mask) & (warpSize - 1)
	p, off, fault := w.resolve(v.in, lane)
	if fault != nil {
		return fault
	}
	many := stampManyLanes
	if mask&(mask-1) == 0 {
		many = 0
	}
	v.enter(p)
	defer p.mu.Unlock()
	if fault := w.touch(v, p, off, lane, many); fault != nil {
		return fault
	}
	m := v.in.mem
	for i, slot := range m.regs {
		w.splat(slot, m.get(p.data[off+uint64(i)*m.size:]), mask)
	}
	return nil
}

func (w *warp) splat(slot int32, value uint64, mask uint32) {
	d := &w.regs[slot]
	if mask == ^uint32(0) {
		for lane := range d {
			d[lane] = value
		}
		return
	}
	for lane := range d {
		if mask>>lane&1 != 0 {
			d[lane] = value
		}
	}
}

func (w *warp) loadParam(in *inst, mask uint32) {
	m := in.mem
	for i, slot := range m.regs {
		w.splat(slot, m.get(w.block.run.params[m.offset+uint64(i)*m.size:]), mask)
		w.init[slot] |= mask
	}
}

func (w *warp) store(in *inst, mask uint32) *Fault {
	m := in.mem
	if w.block.run.checks&CheckRegisters != 0 {
		for _, slot := range m.regs {
			if missing := mask &^ w.init[slot]; missing != 0 {
				return w.unwritten(in, missing, "a value to store")
			}
		}
	}
	v := w.visit(in, mask, false, true)
	if w.shape(in, mask) == contiguous {
		p, b, fault := w.row(&v)
		if fault != nil {
			return fault
		}
		if p != nil {
			w.scatter(m, b)
			p.mu.Unlock()
			return nil
		}
	}
	return w.each(&v, mask, func(lane int, b []byte) {
		for i, slot := range m.regs {
			m.put(b[uint64(i)*m.size:], w.regs[slot][lane])
		}
	})
}

func (w *warp) atomic(in *inst, mask uint32) *Fault {
	m := in.mem
	v := w.visit(in, mask, true, true)
	w.init[in.dst] |= mask
	b, c := &w.regs[in.src[1]], &w.regs[in.src[2]]
	// The result may be the register of an operand.
	w.scratch = w.regs[in.dst]
	fault := w.each(&v, mask, func(lane int, bytes []byte) {
		w.scratch[lane] = m.get(bytes)
		m.put(bytes, m.update(w.scratch[lane], b[lane], c[lane]))
	})
	w.regs[in.dst] = w.scratch
	return fault
}
