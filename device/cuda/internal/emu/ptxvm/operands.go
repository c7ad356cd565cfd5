package ptxvm

import "strings"

// register resolves a name to a register of a type that the instruction accepts. After an error it is one of no use.
func (d *decoder) register(o operand, t typ, wide bool) *symbol {
	sym := d.scope.find(o.name)
	switch {
	case o.kind != opName || o.second != "" || o.negated:
		d.failf("operand must be a register of type %s", t)
	case specialNames[o.name]:
		d.failf("special register %s is only an operand of mov", o.name)
	case sym == nil:
		d.failf("%s is not declared", o.name)
	case sym.kind != symRegister:
		d.failf("%s is not a register", o.name)
	case !t.accepts(sym.typ, wide):
		d.failf("%s has type %s, the instruction needs %s", o.name, sym.typ, t)
	default:
		if sym.slot < 0 && sym.typ == pred {
			sym.slot = d.newPred()
		} else if sym.slot < 0 {
			sym.slot = d.newSlot()
		}
		return sym
	}
	return &symbol{}
}

func (d *decoder) newSlot() int32 {
	d.kernel.regs++
	return int32(d.kernel.regs - 1)
}

func (d *decoder) newPred() int32 {
	d.kernel.preds++
	return int32(d.kernel.preds - 1)
}

// source resolves an operand that is read: a register or a literal.
func (d *decoder) source(o operand, t typ, wide bool) int32 {
	if o.kind == opNumber {
		bits, ok := o.num.as(t)
		if !ok {
			d.failf("literal does not fit an operand of type %s", t)
		}
		return d.constant(bits)
	}
	return d.reading(d.register(o, t, wide), o)
}

// reading notes that the statement reads a register.
func (d *decoder) reading(sym *symbol, o operand) int32 {
	if _, ok := d.reads[sym]; !ok && d.err == nil {
		d.reads[sym] = operandRead{d.line, o.name}
	}
	return sym.slot
}

func (d *decoder) constant(bits uint64) int32 {
	slot, ok := d.constSlots[bits]
	if !ok {
		slot = d.newSlot()
		d.constSlots[bits] = slot
		d.kernel.consts = append(d.kernel.consts, constant{slot, bits})
	}
	return slot
}

func (d *decoder) special(name string) int32 {
	slot, ok := d.specialSlots[name]
	if !ok {
		slot = d.newSlot()
		d.specialSlots[name] = slot
		d.kernel.specials = append(d.kernel.specials, special{slot, name})
	}
	return slot
}

// dest resolves an operand that is written: a register, or _ for nothing.
func (d *decoder) dest(o operand, t typ, wide bool) int32 {
	if o.kind == opName && o.name == "_" {
		return d.newSlot()
	}
	sym := d.register(o, t, wide)
	sym.set = true
	return sym.slot
}

// predSource resolves a predicate that is read, and a mask of ones if it is negated.
func (d *decoder) predSource(o operand) (slot int32, flip uint32) {
	flip = ones(o.negated)
	o.negated = false
	return d.reading(d.register(o, pred, false), o), flip
}

// ones is a mask of all lanes, or of none.
func ones(all bool) uint32 { return -uint32(btoi(all)) }

// predDest resolves p or p|q.
func (d *decoder) predDest(o operand) [2]int32 {
	slots := [2]int32{-1, -1}
	for i, name := range []string{o.name, o.second} {
		if name == "" && i == 1 || name == "_" {
			continue
		}
		sym := d.register(operand{kind: o.kind, name: name, negated: o.negated}, pred, false)
		sym.set = true
		slots[i] = sym.slot
	}
	if slots[0] >= 0 && slots[0] == slots[1] {
		d.failf("both results are %s", o.name)
	}
	return slots
}

// address resolves [base+offset] in a space: the slot of the base; the offset goes to m.
func (d *decoder) address(o operand, m *memop) int32 {
	m.offset, m.wrap = uint64(o.off), ^uint64(0)
	sym := d.scope.find(o.name)
	switch {
	case o.kind != opAddress:
		d.failf("operand must be an address in brackets")
	case o.name == "" && m.space == spaceParam:
		d.failf("[%d] names no parameter", o.off)
	case o.name == "":
	case sym == nil:
		d.failf("%s is not declared", o.name)
	case sym.kind == symRegister && m.space != spaceParam:
		t := b64
		if sym.typ.size == 4 && m.space == spaceShared {
			t, m.wrap = b32, 1<<32-1
		}
		return d.source(operand{kind: opName, name: o.name}, t, false)
	case sym.kind == symShared && m.space == spaceShared:
		m.offset += sym.off
	case sym.kind == symDynamic && m.space == spaceShared:
		m.offset += d.dynamicBase()
	case sym.kind == symParam && m.space == spaceParam:
		if m.offset > sym.size || sym.size-m.offset < m.bytes {
			d.failf("offset %d is outside parameter %s of %d bytes", o.off, o.name, sym.size)
		} else if (m.offset+sym.off)%m.bytes != 0 {
			d.failf("parameter %s is not aligned to %d bytes", o.name, m.bytes)
		}
		m.offset += sym.off
	default:
		d.failf("%s is not an address in this space", o.name)
	}
	return d.constant(0)
}

// dynamicBase is where dynamic shared memory begins: behind all static variables.
func (d *decoder) dynamicBase() uint64 { return roundUp(d.sharedEnd, 16) }

// vector resolves a register, or a vector of n of them.
func (d *decoder) vector(o operand, n int, resolve func(operand) int32) []int32 {
	list := []operand{o}
	if n > 1 {
		list = o.list
	}
	if len(list) != n {
		d.failf("needs a vector of %d registers", n)
	}
	slots := make([]int32, len(list))
	for i, o := range list {
		slots[i] = resolve(o)
	}
	return slots
}

// without splits modifiers into those in the set, a list between spaces, and the rest.
func without(mods []string, set string) (rest []string, found map[string]bool) {
	found = map[string]bool{}
	for _, m := range mods {
		if strings.Contains(set, " "+m+" ") {
			found[m] = true
		} else {
			rest = append(rest, m)
		}
	}
	return rest, found
}
