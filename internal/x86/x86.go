// Package x86 writes x86-64 machine code: the few instructions that loops over vectors need, those of AVX2 and AVX-512 for
// float32, float64 and words, and of the general registers. A test holds every form to an assembler's encoding.
package x86

import "fmt"

// Arg is an operand. The zero Arg is none.
type Arg struct {
	kind  kind
	reg   uint8 // a register's number; memory: the base
	index uint8 // memory: the index, where scale is not 0
	scale uint8 // memory: 1, 2, 4 or 8
	cast  bool  // memory: one element, which stands for all of the vector
	value int32 // memory: the displacement; an immediate; a label
}

type kind uint8

const (
	none kind = iota
	general
	vector
	mask
	memory
	immediate
	label
)

// The general registers.
var AX, CX, DX, BX, SP, BP, SI, DI = Arg{kind: general}, R(1), R(2), R(3), R(4), R(5), R(6), R(7)

// R is the general register n, 0 to 15.
func R(n int) Arg { return Arg{kind: general, reg: uint8(n)} }

// V is the vector register n: 0 to 15, or to 31 with AVX-512.
func V(n int) Arg { return Arg{kind: vector, reg: uint8(n)} }

// K is the mask register n, 0 to 7.
func K(n int) Arg { return Arg{kind: mask, reg: uint8(n)} }

// Imm is a number.
func Imm(x int) Arg { return Arg{kind: immediate, value: int32(x)} }

// Mem is the memory at base + disp.
func Mem(base Arg, disp int) Arg { return Arg{kind: memory, reg: base.reg, value: int32(disp)} }

// At is the memory at base + index·scale + disp. The index is any register but SP.
func At(base, index Arg, scale, disp int) Arg {
	return Arg{kind: memory, reg: base.reg, index: index.reg, scale: uint8(scale), value: int32(disp)}
}

// Each is memory of one element, which an operation of AVX-512 takes for every element of the vector.
func (a Arg) Each() Arg {
	a.cast = true
	return a
}

// IsMem says whether the operand is memory.
func (a Arg) IsMem() bool { return a.kind == memory }

// IsImm says whether the operand is an immediate.
func (a Arg) IsImm() bool { return a.kind == immediate }

// Plus is memory some bytes further on.
func (a Arg) Plus(bytes int) Arg {
	a.value += int32(bytes)
	return a
}

// Number is a register's number.
func (a Arg) Number() int { return int(a.reg) }

// Value is what an immediate is.
func (a Arg) Value() int { return int(a.value) }

// Ins is an instruction.
type Ins struct {
	Op   Op
	Size int  // bytes of its vectors: 32 or 64
	Mask int  // with AVX-512: the mask register that says which elements are written; 0: all
	Zero bool // the others become 0
	Args [4]Arg
	Note string // for who reads the listing
}

// Asm is a list of instructions.
type Asm struct {
	list   []Ins
	labels int
}

// Add appends an instruction.
func (a *Asm) Add(i Ins) { a.list = append(a.list, i) }

// Emit appends an instruction of general registers.
func (a *Asm) Emit(op Op, args ...Arg) {
	i := Ins{Op: op}
	copy(i.Args[:], args)
	a.Add(i)
}

// Label is a place to jump to, which Emit(LABEL, it) fixes.
func (a *Asm) Label() Arg {
	a.labels++
	return Arg{kind: label, value: int32(a.labels - 1)}
}

// Bytes is the machine code. It runs at any address that is a multiple of what ALIGN asks for.
func (a *Asm) Bytes() ([]byte, error) {
	code, _, err := a.encode()
	return code, err
}

// encode also returns where each instruction begins.
func (a *Asm) encode() (code []byte, starts []int, err error) {
	bound := make([]int, a.labels)
	for i := range bound {
		bound[i] = -1
	}
	type jump struct{ end, label int }
	var jumps []jump
	for k := range a.list {
		i := &a.list[k]
		starts = append(starts, len(code))
		s := &specs[i.Op]
		switch s.form {
		case pseudoLabel:
			bound[i.Args[0].value] = len(code)
			continue
		case pseudoAlign:
			code = pad(code, int(i.Args[0].value))
			continue
		case branch:
			to := int(i.Args[0].value)
			if at := bound[to]; at >= 0 && at-len(code)-2 >= -128 {
				code = append(code, s.op, byte(at-len(code)-2))
				continue
			}
			if i.Op == JMP {
				code = append(code, 0xE9)
			} else {
				code = append(code, 0x0F, s.op+0x10)
			}
			code = append(code, 0, 0, 0, 0)
			jumps = append(jumps, jump{len(code), to})
			continue
		}
		if code, err = encode(code, i); err != nil {
			return nil, nil, err
		}
	}
	for _, j := range jumps {
		if bound[j.label] < 0 {
			return nil, nil, fmt.Errorf("x86: label %d is nowhere", j.label)
		}
		put32(code[j.end-4:], bound[j.label]-j.end)
	}
	return code, starts, nil
}

func put32(b []byte, x int) {
	for i := range 4 {
		b[i] = byte(x >> (8 * i))
	}
}

// nops are the instructions that do nothing, by length.
var nops = [...][]byte{1: {0x90}, 2: {0x66, 0x90}, 3: {0x0F, 0x1F, 0x00}, 4: {0x0F, 0x1F, 0x40, 0x00}, 5: {0x0F, 0x1F, 0x44, 0x00, 0x00},
	6: {0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00}, 7: {0x0F, 0x1F, 0x80, 0, 0, 0, 0}, 8: {0x0F, 0x1F, 0x84, 0x00, 0, 0, 0, 0}}

// pad appends nops up to a multiple of n.
func pad(code []byte, n int) []byte {
	for missing := -len(code) & (n - 1); missing > 0; {
		k := min(missing, len(nops)-1)
		code = append(code, nops[k]...)
		missing -= k
	}
	return code
}
