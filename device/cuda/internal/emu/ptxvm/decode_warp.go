package ptxvm

var warpModes = map[string]mode{
	"shfl.sync.up.b32": modeUp, "shfl.sync.down.b32": modeDown, "shfl.sync.bfly.b32": modeBfly, "shfl.sync.idx.b32": modeIdx,
	"vote.sync.all.pred": modeAll, "vote.sync.any.pred": modeAny, "vote.sync.uni.pred": modeUni, "vote.sync.ballot.b32": modeBallot,
}

// shuffle is shfl.sync.mode.b32 d[|p], a, b, c, membermask.
func (d *decoder) shuffle() {
	in := newInst(opShuffle)
	if in.mode = warpModes[d.mnemonic]; in.mode == modeFirst {
		d.unknown()
	}
	if !d.count(5) {
		return
	}
	for i, t := range []typ{b32, u32, u32, u32} {
		in.read(d.source(d.operands[i+1], t, false))
	}
	dst := d.operands[0]
	if dst.second != "" {
		in.pdst = d.predDest(operand{kind: opName, name: dst.second})
		dst.second = ""
	}
	in.dst = d.dest(dst, b32, false)
	d.emit(in)
}

// vote is vote.sync.mode.pred p, [!]q, membermask or vote.sync.ballot.b32 d, [!]q, membermask.
func (d *decoder) vote() {
	in := newInst(opVote)
	if in.mode = warpModes[d.mnemonic]; in.mode == modeFirst {
		d.unknown()
	}
	if !d.count(3) {
		return
	}
	in.readPred(d.predSource(d.operands[1]))
	in.read(d.source(d.operands[2], u32, false))
	if in.mode == modeBallot {
		in.dst = d.dest(d.operands[0], b32, false)
	} else {
		in.pdst = d.predDest(d.operands[0])
	}
	d.emit(in)
}

func (d *decoder) active() {
	d.only(" b32 ")
	if d.count(1) {
		in := newInst(opActive)
		in.dst = d.dest(d.operands[0], b32, false)
		d.emit(in)
	}
}
