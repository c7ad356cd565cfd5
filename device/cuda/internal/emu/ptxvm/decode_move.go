package ptxvm

func (d *decoder) mov() {
	if !d.count(2) {
		return
	}
	dst, src := d.operands[0], d.operands[1]
	if d.mnemonic == "mov.pred" {
		if src.kind == opNumber {
			in := newInst(opSetp)
			in.cmp, in.pdst = comparisons["ne.u64"], d.predDest(dst)
			in.read(d.constant(src.num.bits))
			in.read(d.constant(0))
			d.emit(in)
			return
		}
		d.predLogic()
		return
	}
	t := d.onlyType()
	switch {
	case dst.kind == opVector:
		d.unpack(t)
	case src.kind == opVector:
		d.pack(t)
	default:
		in := newInst(opALU)
		in.alu = copyLanes
		in.read(d.movSource(src, t))
		in.dst = d.dest(dst, t, false)
		d.emit(in)
	}
}

// movSource resolves what only mov can read: special registers and addresses of variables.
func (d *decoder) movSource(o operand, t typ) int32 {
	if o.kind == opName && o.second == "" && !o.negated && t.kind != 'f' {
		sym := d.scope.find(o.name)
		switch {
		case specialNames[o.name]:
			if t.size != 4 {
				d.failf("special register %s has type .u32", o.name)
			}
			return d.special(o.name)
		case sym != nil && sym.kind == symShared && t.size >= 4:
			return d.constant(sym.off)
		case sym != nil && sym.kind == symDynamic && t.size >= 4:
			return d.constant(d.dynamicBase())
		}
	}
	return d.source(o, t, false)
}

// part is the type of the elements of a vector that makes up a t.
func (d *decoder) part(t typ, n int) typ {
	if t.kind != 'b' || n != 2 && n != 4 || int(t.size)/n < 2 {
		d.failf("no vector of %d makes up %s", n, t)
		return t
	}
	return typ{'b', t.size / uint8(n)}
}

func (d *decoder) pack(t typ) {
	list := d.operands[1].list
	part := d.part(t, len(list))
	if d.err != nil {
		return
	}
	in := newInst(opALU)
	in.alu = packs[[2]uint8{part.size, t.size}]
	for _, o := range list {
		in.read(d.source(o, part, false))
	}
	in.dst = d.dest(d.operands[0], t, false)
	d.emit(in)
}

// unpack is one shift for each element.
func (d *decoder) unpack(t typ) {
	list := d.operands[0].list
	part := d.part(t, len(list))
	src := d.source(d.operands[1], t, false)
	for i, o := range list {
		in := newInst(opALU)
		in.alu = forms["shr.u64"].alu
		in.read(src)
		in.read(d.constant(uint64(i) * uint64(part.size) * 8))
		in.dst = d.dest(o, part, false)
		d.emit(in)
	}
}

// sharedWindow is where the generic address space shows shared memory.
const sharedWindow = 0x10_0000_0000

// cvta converts between generic addresses and those of a space, which differ for shared memory only.
func (d *decoder) cvta() {
	found := d.only(" to global shared shared::cta u64 ")
	if !d.count(2) {
		return
	}
	if !found["u64"] || len(d.mods) != 2+btoi(found["to"]) {
		d.unknown()
	}
	in := newInst(opALU)
	switch {
	case found["global"]:
		in.alu = copyLanes
	case found["to"]:
		in.alu = forms["sub.u64"].alu
	default:
		in.alu = forms["add.u64"].alu
	}
	in.read(d.movSource(d.operands[1], b64))
	in.read(d.constant(sharedWindow))
	in.dst = d.dest(d.operands[0], b64, false)
	d.emit(in)
}
