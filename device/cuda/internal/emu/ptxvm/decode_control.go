package ptxvm

// only reports modifiers outside a set, a list between spaces.
func (d *decoder) only(set string) map[string]bool {
	rest, found := without(d.mods, set)
	if len(rest) > 0 {
		d.unknown()
	}
	return found
}

func (d *decoder) branch() {
	d.only(" uni ")
	if !d.count(1) {
		return
	}
	name := d.operands[0].name
	sym := d.scope.find(name)
	if sym == nil || sym.kind != symLabel {
		d.failf("there is no label %s", name)
		return
	}
	in := newInst(opBranch)
	in.target = int32(sym.off) // the index of a statement: assemble makes an instruction's of it
	d.emit(in)
}

// exit is ret, exit and trap.
func (d *decoder) exit() {
	op := opExit
	if d.mnemonic == "trap" {
		op = opTrap
	}
	d.only(" uni ")
	d.count(0)
	d.emit(newInst(op))
}

// fence is membar and fence. Memory here is always coherent.
func (d *decoder) fence() {
	d.only(" cta gl sys sc acq_rel cluster gpu ")
	d.count(0)
	d.emit(newInst(opNop))
}

func (d *decoder) barrier() {
	found := d.only(" sync warp aligned cta ")
	n := len(d.operands)
	if !found["sync"] || n == 0 || n > 2 || found["warp"] && n > 1 {
		d.failf("no such form of a barrier is emulated")
		return
	}
	in := newInst(opBarrier)
	if found["warp"] {
		in.op = opWarpSync
	} else if o := d.operands[0]; o.kind == opNumber && o.num.bits > 15 {
		d.failf("there are barriers 0 to 15")
	}
	for _, o := range d.operands {
		in.read(d.source(o, u32, false))
	}
	d.emit(in)
}

// setp is setp.CmpOp[.BoolOp].type p[|q], a, b[, [!]c].
func (d *decoder) setp() {
	if in, ok := d.comparison(0); ok {
		in.pdst = d.predDest(d.operands[0])
		d.emit(in)
	}
}

// set is setp, then a choice between the constants of true and false.
func (d *decoder) set() {
	in, ok := d.comparison(1)
	if !ok {
		return
	}
	t := typesByName[d.mods[len(d.mods)-2]]
	yes := uint64(0xffffffff)
	if t == (typ{'f', 4}) {
		yes = 0x3f800000
	} else if t.size != 4 || t.kind == 'b' {
		d.failf("result must be .u32, .s32 or .f32")
	}
	in.pdst[0] = d.newPred()
	d.emit(in)
	choice := newInst(opSelp)
	choice.readPred(in.pdst[0], 0)
	choice.read(d.constant(yes))
	choice.read(d.constant(0))
	choice.dst = d.dest(d.operands[0], t, false)
	d.emit(choice)
}

// comparison decodes all of setp or set but the result; extra is the number of types beside the source's.
func (d *decoder) comparison(extra int) (in inst, ok bool) {
	in = newInst(opSetp)
	n := len(d.mods) - extra // CmpOp, BoolOp if there is one, type
	if n < 2 || n > 3 {
		d.unknown()
		return in, false
	}
	source := d.mods[len(d.mods)-1]
	in.cmp = comparisons[d.mods[0]+"."+source]
	if in.cmp == nil {
		d.failf("no comparison %s of type %s is emulated", d.mods[0], source)
	}
	if !d.count(n + 1) {
		return in, false
	}
	for _, o := range d.operands[1:3] {
		in.read(d.source(o, typesByName[source], false))
	}
	if n == 3 {
		in.mode = map[string]mode{"and": modeAnd, "or": modeOr, "xor": modeXor}[d.mods[1]]
		if in.mode == modeFirst {
			d.unknown()
		}
		in.readPred(d.predSource(d.operands[3]))
	}
	return in, d.err == nil
}

func (d *decoder) testp() {
	in := newInst(opSetp)
	in.cmp = comparisons[d.mnemonic]
	if in.cmp == nil {
		d.unknown()
	}
	if d.count(2) {
		in.pdst = d.predDest(d.operands[0])
		in.read(d.source(d.operands[1], typesByName[d.mods[len(d.mods)-1]], false))
		d.emit(in)
	}
}

func (d *decoder) selp() {
	t := d.onlyType()
	if !d.count(4) {
		return
	}
	in := newInst(opSelp)
	for _, o := range d.operands[1:3] {
		in.read(d.source(o, t, false))
	}
	in.readPred(d.predSource(d.operands[3]))
	in.dst = d.dest(d.operands[0], t, false)
	d.emit(in)
}

// onlyType is the type of an instruction that has no other modifier.
func (d *decoder) onlyType() typ {
	if len(d.mods) == 1 {
		if t, ok := typesByName[d.mods[0]]; ok && t.size > 1 {
			return t
		}
	}
	d.unknown()
	return typ{}
}

// predLogic is and, or, xor, not and mov of predicates.
func (d *decoder) predLogic() {
	n := 2
	in := newInst(opPred)
	switch d.mnemonic {
	case "and.pred":
		in.mode = modeAnd
	case "or.pred":
		in.mode = modeOr
	case "xor.pred":
		in.mode = modeXor
	case "not.pred", "mov.pred":
		n = 1
	default:
		d.unknown()
	}
	if !d.count(1 + n) {
		return
	}
	for _, o := range d.operands[1:] {
		in.readPred(d.predSource(o))
	}
	if d.mnemonic == "not.pred" {
		in.flip[0] ^= ones(true)
	}
	in.pdst = d.predDest(d.operands[0])
	d.emit(in)
}
