package ptxvm

import (
	"fmt"
	"strings"
)

// assemble turns the statements into instructions.
func (b *body) assemble() {
	k := b.kernel
	k.sharedBytes = b.sharedEnd
	b.constSlots, b.specialSlots = map[uint64]int32{}, map[string]int32{}

	// Slot 0 of the registers is the constant 0, slot 0 of the predicates is true: what an instruction lacks is there.
	k.preds = 1
	(&decoder{body: b}).constant(0)

	starts := make([]int32, len(b.statements)+1)
	reads := map[*symbol]operandRead{}
	for i := range b.statements {
		st := &b.statements[i]
		starts[i] = int32(len(k.code))
		d := decoder{body: b, statement: st, reads: reads}
		if d.decode(); d.err != nil {
			b.diag.errorf(st.line, "%v", d.err)
		}
	}
	starts[len(b.statements)] = int32(len(k.code))
	// The end of the body is an exit.
	k.code = append(k.code, inst{op: opExit, line: int32(b.toks[b.pos-1].line)})

	for i := range k.code {
		if in := &k.code[i]; in.op == opBranch {
			in.target = starts[in.target]
		}
	}
	for sym, read := range reads {
		if !sym.set {
			b.diag.errorf(read.line, "%s is read, but no instruction writes it", read.name)
		}
	}
	reconverge(k.code)
}

// operandRead is where a register is read first.
type operandRead struct {
	line int
	name string
}

// decoder turns one statement into one or more instructions. Its methods go on after an error and keep the first one:
// what they emit then is never run.
type decoder struct {
	*body
	*statement
	reads map[*symbol]operandRead
	mods  []string // the mnemonic's parts after the first
	err   error

	predicate     int32 // of the statement's guard
	predicateFlip uint32
}

func (d *decoder) failf(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: "+format, append([]any{d.mnemonic}, args...)...)
	}
}

func (d *decoder) decode() {
	parts := strings.Split(d.mnemonic, ".")
	d.mods = parts[1:]
	if d.guard.kind != opNone {
		d.predicate, d.predicateFlip = d.predSource(d.guard)
	}
	if forms[d.mnemonic] != nil {
		d.form()
	} else if f := decoders[parts[0]]; f != nil {
		f(d)
	} else {
		d.unknown()
	}
}

// decoders handle the instructions that are more than a function of registers.
var decoders map[string]func(*decoder)

func init() {
	decoders = map[string]func(*decoder){
		"bra": (*decoder).branch, "ret": (*decoder).exit, "exit": (*decoder).exit, "trap": (*decoder).exit,
		"bar": (*decoder).barrier, "barrier": (*decoder).barrier, "membar": (*decoder).fence, "fence": (*decoder).fence,
		"ld": (*decoder).load, "st": (*decoder).store, "atom": (*decoder).atomic, "red": (*decoder).atomic,
		"prefetch": (*decoder).prefetch,
		"shfl":     (*decoder).shuffle, "vote": (*decoder).vote, "activemask": (*decoder).active,
		"setp": (*decoder).setp, "set": (*decoder).set, "selp": (*decoder).selp, "testp": (*decoder).testp,
		"mov": (*decoder).mov, "cvta": (*decoder).cvta,
		"and": (*decoder).predLogic, "or": (*decoder).predLogic, "xor": (*decoder).predLogic, "not": (*decoder).predLogic,
	}
}

// newInst is an instruction without predicates to write.
func newInst(op opcode) inst { return inst{op: op, pdst: [2]int32{-1, -1}} }

// emit appends an instruction, under the statement's guard.
func (d *decoder) emit(in inst) {
	in.line, in.guard, in.guardFlip = int32(d.line), d.predicate, d.predicateFlip
	d.kernel.code = append(d.kernel.code, in)
}

// count checks the number of operands, before they are looked at.
func (d *decoder) count(n int) bool {
	if len(d.operands) != n {
		d.failf("takes %d operands, not %d", n, len(d.operands))
	}
	return d.err == nil
}

// form decodes an instruction that computes a register from registers, lane by lane.
func (d *decoder) form() {
	f := forms[d.mnemonic]
	if !d.count(1 + len(f.src)) {
		return
	}
	in := newInst(opALU)
	in.alu = f.alu
	for i, t := range f.src {
		in.read(d.source(d.operands[i+1], t, f.wide))
	}
	in.dst = d.dest(d.operands[0], f.dst, f.wide)
	d.emit(in)
}

// read appends a source operand.
func (in *inst) read(slot int32) {
	in.src[in.nsrc] = slot
	in.nsrc++
}

// readPred appends a source predicate.
func (in *inst) readPred(slot int32, flip uint32) {
	in.psrc[in.npsrc], in.flip[in.npsrc] = slot, flip
	in.npsrc++
}

// notEmulated are modifiers that PTX has and this package refuses, because it could not have their bits.
var notEmulated = map[string]bool{
	"ftz": true, "approx": true, "full": true, "sat": true, "satfinite": true, "rz": true, "rm": true, "rp": true,
	"rna": true, "relu": true, "cc": true, "f16": true, "f16x2": true, "bf16": true, "bf16x2": true, "f32x2": true,
}

// unknown explains why a mnemonic means nothing here.
func (d *decoder) unknown() {
	base, _, _ := strings.Cut(d.mnemonic, ".")
	for _, m := range d.mods {
		if notEmulated[m] {
			d.failf(".%s is not emulated", m)
		}
	}
	known := decoders[base] != nil
	for name := range forms {
		known = known || strings.HasPrefix(name, base+".")
	}
	if known {
		d.failf("no such form of %s is emulated (a rounding or type modifier is missing or wrong)", base)
	}
	d.failf("unknown instruction")
}
