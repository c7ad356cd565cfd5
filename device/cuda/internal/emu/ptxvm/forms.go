package ptxvm

import "strings"

// vreg is one register of all lanes of a warp. Of each lane only as many low bits have a meaning as the register's type
// has; whoever reads it truncates.
type vreg = [warpSize]uint64

// aluFunc computes a register from up to four, for all lanes. It must not fail for any value: lanes that are not active
// are computed too, and thrown away.
type aluFunc func(d, a, b, c, e *vreg)

// form is an instruction that is a function of registers.
type form struct {
	dst  typ
	src  []typ
	wide bool // operands may be wider than their type, as in cvt
	alu  aluFunc
}

// forms holds the functions of registers under their full mnemonics.
var forms = map[string]*form{}

// def adds a form. The types read "u32 = u32 u32".
func def(mnemonic, types string, f aluFunc) {
	dst, src, _ := strings.Cut(types, " = ")
	fm := &form{dst: typesByName[dst], alu: f}
	for name := range strings.FieldsSeq(src) {
		fm.src = append(fm.src, typesByName[name])
	}
	forms[mnemonic] = fm
}

// same writes the types of a function of n operands that all have type t.
func same(t string, n int) string { return t + " =" + strings.Repeat(" "+t, n) }

func copyLanes(d, a, _, _, _ *vreg) { *d = *a }

// raw makes a lane function of a scalar one. It costs a call for each lane: what runs often has a loop of its own.
func raw(f func(a, b, c, e uint64) uint64) aluFunc {
	return func(d, a, b, c, e *vreg) {
		for i := range d {
			d[i] = f(a[i], b[i], c[i], e[i])
		}
	}
}
