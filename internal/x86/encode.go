package x86

import "fmt"

// parts is an instruction's operands by their place in the encoding.
type parts struct {
	reg  uint8
	vvvv uint8
	rm   Arg
	imm  []byte
}

// encode appends an instruction's bytes.
func encode(code []byte, i *Ins) ([]byte, error) {
	s := &specs[i.Op]
	var p parts
	var err error
	a := &i.Args
	switch s.form {
	case rvm:
		p = parts{reg: a[0].reg, vvvv: a[1].reg, rm: a[2]}
	case vm:
		p = parts{reg: s.ext, vvvv: a[0].reg, rm: a[1]}
		if a[1].kind != vector {
			return nil, fmt.Errorf("x86: %s: no encoding", i)
		}
	case rm:
		p = parts{reg: a[0].reg, rm: a[1]}
	case mr:
		p = parts{reg: a[1].reg, rm: a[0]}
	case rvmr:
		if a[3].reg > 15 {
			return nil, fmt.Errorf("x86: %s: no encoding", i)
		}
		p = parts{reg: a[0].reg, vvvv: a[1].reg, rm: a[2], imm: []byte{a[3].reg << 4}}
	case mvr:
		p = parts{reg: a[2].reg, vvvv: a[1].reg, rm: a[0]}
	case m:
		p = parts{reg: s.ext, rm: a[0]}
	case mi:
		if x := a[1].value; x < -128 || x > 127 {
			return nil, fmt.Errorf("x86: %s: %d is more than a byte", i, x)
		}
		p = parts{reg: s.ext, rm: a[0], imm: []byte{byte(a[1].value)}}
	case mi4:
		p = parts{reg: s.ext, rm: a[0], imm: make([]byte, 4)}
		put32(p.imm, int(a[1].value))
	case oi:
		if a[0].reg > 7 {
			code = append(code, 0x41)
		}
		code = append(code, s.op+a[0].reg&7, 0, 0, 0, 0)
		put32(code[len(code)-4:], int(a[1].value))
		return code, nil
	case plain:
		switch i.Op {
		case RET:
			return append(code, 0xC3), nil
		case SFENCE:
			return append(code, 0x0F, 0xAE, 0xF8), nil
		}
		return append(code, 0xC5, 0xF8, 0x77), nil
	}
	if s.imm {
		p.imm = []byte{byte(a[s.form.operands()].value)}
	}
	if p.rm.scale != 0 && p.rm.index == SP.reg {
		return nil, fmt.Errorf("x86: %s: no index", i)
	}
	unit := int32(1)
	switch {
	case s.coding&(vex|short|evex|kvex) == 0:
		code = generalPrefix(code, s, &p)
	case s.coding&kvex != 0:
		code = vexPrefix(code, s, &p, s.coding&long != 0)
	case (s.coding&vex != 0 && i.Size == 32 || s.coding&short != 0 && i.Size == 16) && i.Mask == 0 && !p.rm.cast && p.reg < 16 && p.vvvv < 16 && (p.rm.kind == memory || p.rm.reg < 16) && a[0].kind != mask:
		code = vexPrefix(code, s, &p, i.Size == 32)
	case s.coding&evex == 0 || i.Size < 32 || p.reg > 31 || p.rm.cast && s.coding&broad == 0 || a[0].kind == mask && p.reg > 7:
		err = fmt.Errorf("x86: %s: no encoding", i)
	default:
		unit = int32(s.bytes(i.Size))
		if p.rm.cast {
			unit = int32(s.elem)
		}
		code = evexPrefix(code, s, &p, i)
	}
	if err != nil {
		return nil, err
	}
	code = append(code, s.op)
	return append(operands(code, &p, unit), p.imm...), nil
}

// bit is bit n of x, at place to.
func bit(x uint8, n, to int) uint8 { return x >> n & 1 << to }

// extension is the fourth bits of ModRM's registers as R, X and B, the lowest three bits, in the order that prefixes have them.
func extension(p *parts) (rxb uint8) {
	rxb = bit(p.reg, 3, 2) | bit(p.rm.reg, 3, 0)
	if p.rm.kind == memory && p.rm.scale != 0 {
		rxb |= bit(p.rm.index, 3, 1)
	}
	return rxb
}

func generalPrefix(code []byte, s *spec, p *parts) []byte {
	rex := extension(p)
	if s.coding&wide != 0 {
		rex |= 8
	}
	if rex != 0 {
		code = append(code, 0x40|rex)
	}
	if s.table == 1 {
		code = append(code, 0x0F)
	}
	return code
}

func vexPrefix(code []byte, s *spec, p *parts, l bool) []byte {
	rxb := extension(p)
	last := ^p.vvvv&15<<3 | s.prefix
	if l {
		last |= 4
	}
	if s.coding&w1 != 0 {
		last |= 0x80
	}
	if rxb&3 == 0 && s.table == 1 && s.coding&w1 == 0 {
		return append(code, 0xC5, ^rxb&4<<5|last)
	}
	return append(code, 0xC4, ^rxb&7<<5|s.table, last)
}

func evexPrefix(code []byte, s *spec, p *parts, i *Ins) []byte {
	rxb := extension(p)
	if p.rm.kind != memory {
		rxb |= bit(p.rm.reg, 4, 1)
	}
	first := ^rxb&7<<5 | bit(^p.reg, 4, 4) | s.table
	second := ^p.vvvv&15<<3 | 4 | s.prefix
	if s.elem == 8 {
		second |= 0x80
	}
	third := bit(^p.vvvv, 4, 3) | uint8(i.Mask)
	if i.Size == 64 {
		third |= 2 << 5
	} else {
		third |= 1 << 5
	}
	if p.rm.cast {
		third |= 0x10
	}
	if i.Zero {
		third |= 0x80
	}
	return append(code, 0x62, first, second, third)
}

// operands appends ModRM, SIB and the displacement, of which one byte counts units.
func operands(code []byte, p *parts, unit int32) []byte {
	reg := p.reg & 7 << 3
	if p.rm.kind != memory {
		return append(code, 0xC0|reg|p.rm.reg&7)
	}
	base, disp := p.rm.reg&7, p.rm.value
	mod := uint8(0x80)
	switch small := disp / unit; {
	case disp == 0 && base != 5: // there, no displacement means another address
		mod = 0
	case disp%unit == 0 && small >= -128 && small <= 127:
		mod, disp = 0x40, small
	}
	if p.rm.scale == 0 && base != 4 {
		code = append(code, mod|reg|base)
	} else {
		sib := uint8(4<<3) | base // no index
		if p.rm.scale != 0 {
			sib = p.rm.index&7<<3 | base
			for x := p.rm.scale; x > 1; x /= 2 {
				sib += 0x40
			}
		}
		code = append(code, mod|reg|4, sib)
	}
	switch mod {
	case 0x40:
		code = append(code, byte(disp))
	case 0x80:
		code = append(code, 0, 0, 0, 0)
		put32(code[len(code)-4:], int(disp))
	}
	return code
}
