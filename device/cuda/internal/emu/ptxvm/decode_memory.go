package ptxvm

import "strings"

// hints are modifiers of ld and st that say how, not what.
const hints = " ca cg cs lu cv wb wt weak L1::no_allocate L1::evict_normal L1::evict_unchanged L1::evict_first " +
	"L1::evict_last L2::64B L2::128B L2::256B "

// ordering are modifiers that make an access strong, in the sense of PTX's memory model.
const ordering = " volatile relaxed acquire release acq_rel cta cluster gpu sys "

// memop decodes the modifiers of a memory instruction; what is left of them is returned, less the type.
func (d *decoder) memop() (*memop, typ, []string) {
	m := &memop{cache: int32(d.kernel.memops), size: 1, bytes: 1}
	d.kernel.memops++
	rest, _ := without(d.mods, hints)
	rest, strong := without(rest, ordering)
	rest, spaces := without(rest, " global shared shared::cta param ")
	rest, nc := without(rest, " nc ")
	m.strong, m.nc = len(strong) > 0, nc["nc"]
	switch {
	case len(spaces) != 1:
		d.failf("name one of .global, .shared and .param: generic addressing is not emulated")
	case spaces["shared"], spaces["shared::cta"]:
		m.space = spaceShared
	case spaces["param"]:
		m.space = spaceParam
	}
	if m.nc && (m.space != spaceGlobal || m.strong || d.mods[0] == "nc" || !strings.HasPrefix(d.mnemonic, "ld.")) {
		d.failf(".nc is for plain global loads")
	}
	if len(rest) == 0 {
		d.failf("the type is missing")
		return m, b32, nil
	}
	last := len(rest) - 1
	t, ok := typesByName[rest[last]]
	if !ok || t == pred {
		d.failf("unknown type .%s", rest[last])
		return m, b32, nil
	}
	m.size, m.bytes, m.signed = uint64(t.size), uint64(t.size), t.kind == 's'
	return m, t, rest[:last]
}

// access decodes load and store, which differ in the place of the address. resolve looks up a register of the vector.
func (d *decoder) access(op opcode, address, vector int, resolve func(o operand, t typ, wide bool) int32) {
	m, t, rest := d.memop()
	if len(rest) > 0 && (rest[0] == "v2" || rest[0] == "v4") {
		m.bytes *= uint64(rest[0][1] - '0')
		rest = rest[1:]
	}
	switch {
	case len(rest) > 0:
		d.failf(".%s is unknown or not emulated", strings.Join(rest, "."))
	case m.bytes > 16:
		d.failf("an access has at most 16 bytes")
	case m.space == spaceParam && op == opStore:
		d.failf("a kernel cannot store to its parameters")
	case m.space == spaceParam:
		op = opLoadParam
	}
	if !d.count(2) {
		return
	}
	in := newInst(op)
	in.mem = m
	in.read(d.address(d.operands[address], m))
	m.regs = d.vector(d.operands[vector], int(m.bytes/m.size), func(o operand) int32 { return resolve(o, t, true) })
	d.emit(in)
}

func (d *decoder) load() { d.access(opLoad, 1, 0, d.dest) }

func (d *decoder) store() { d.access(opStore, 0, 1, d.source) }

// atomic decodes atom and red, which is atom without a result.
func (d *decoder) atomic() {
	m, t, rest := d.memop()
	if len(rest) != 1 || m.space == spaceParam {
		d.failf("no such atomic operation is emulated")
		return
	}
	m.strong, m.update = true, updates[rest[0]+t.String()]
	if m.update == nil {
		d.failf("no atomic %s of type %s is emulated", rest[0], t)
	}
	result := btoi(strings.HasPrefix(d.mnemonic, "atom."))
	if !d.count(2 + result + btoi(rest[0] == "cas")) {
		return
	}
	in := newInst(opAtomic)
	in.mem = m
	if result > 0 {
		in.dst = d.dest(d.operands[0], t, false)
	} else {
		in.dst = d.newSlot()
	}
	in.read(d.address(d.operands[result], m))
	for _, o := range d.operands[result+1:] {
		in.read(d.source(o, t, false))
	}
	d.emit(in)
}

// prefetch does nothing, even for addresses that do not exist: so does hardware.
func (d *decoder) prefetch() {
	d.only(" global L1 L2 L2::evict_last L2::evict_normal ")
	if d.count(1) {
		in := newInst(opNop)
		in.read(d.address(d.operands[0], &memop{bytes: 1}))
		d.emit(in)
	}
}
