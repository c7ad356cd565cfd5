package x86

import (
	"fmt"
	"strings"
)

var generals = [...]string{"ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "8", "9", "10", "11", "12", "13", "14", "15"}

// generalName is a general register of 4 or 8 bytes.
func generalName(n uint8, size int) string {
	switch {
	case n < 8 && size == 8:
		return "r" + generals[n]
	case n < 8:
		return "e" + generals[n]
	case size == 8:
		return "r" + generals[n]
	}
	return "r" + generals[n] + "d"
}

// String is the instruction in Intel's syntax, as assemblers read it.
func (i *Ins) String() string {
	s := &specs[i.Op]
	var args []string
	for k, a := range i.Args {
		if a.kind == none {
			break
		}
		text := i.arg(k)
		if k == 0 && i.Mask != 0 {
			text += fmt.Sprintf(" {k%d}", i.Mask)
			if i.Zero {
				text += " {z}"
			}
		}
		args = append(args, text)
	}
	return strings.TrimSpace(s.name + " " + strings.Join(args, ", "))
}

// arg is operand k.
func (i *Ins) arg(k int) string {
	s, a := &specs[i.Op], i.Args[k]
	size := i.Size
	if k == s.form.rm() {
		size = s.bytes(size)
	}
	switch a.kind {
	case general:
		if s.coding&wide != 0 {
			return generalName(a.reg, 8)
		}
		return generalName(a.reg, 4)
	case vector:
		return fmt.Sprintf("%cmm%d", map[int]rune{16: 'x', 32: 'y', 64: 'z'}[max(size, 16)], a.reg)
	case mask:
		return fmt.Sprintf("k%d", a.reg)
	case label:
		return fmt.Sprintf("L%d", a.value)
	case immediate:
		return fmt.Sprint(a.value)
	}
	switch {
	case a.cast:
		size = int(s.elem)
	case s.coding&wide != 0:
		size = 8
	}
	var b strings.Builder
	b.WriteString(map[int]string{1: "byte", 2: "word", 4: "dword", 8: "qword", 16: "xmmword", 32: "ymmword", 64: "zmmword"}[size])
	b.WriteString(" ptr [" + generalName(a.reg, 8))
	if a.scale != 0 {
		fmt.Fprintf(&b, " + %d*%s", a.scale, generalName(a.index, 8))
	}
	switch {
	case a.value > 0:
		fmt.Fprintf(&b, " + %d", a.value)
	case a.value < 0:
		fmt.Fprintf(&b, " - %d", -int64(a.value))
	}
	b.WriteString("]")
	if a.cast {
		fmt.Fprintf(&b, "{1to%d}", i.Size/int(s.elem))
	}
	return b.String()
}

// Listing is the program as text: where each instruction is, its bytes, itself and its note.
func (a *Asm) Listing() (string, error) {
	code, starts, err := a.encode()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for k := range a.list {
		i := &a.list[k]
		end := len(code)
		if k+1 < len(starts) {
			end = starts[k+1]
		}
		switch specs[i.Op].form {
		case pseudoLabel:
			fmt.Fprintf(&b, "%s:", i.arg(0))
		case pseudoAlign:
			continue
		default:
			fmt.Fprintf(&b, "%5d  %-22x  %s", starts[k], code[starts[k]:end], i)
		}
		if i.Note != "" {
			fmt.Fprintf(&b, "\t; %s", i.Note)
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}
