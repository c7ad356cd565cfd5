package ptxvm

import "encoding/binary"

// get reads an element, extended as its type says.
func (m *memop) get(b []byte) uint64 {
	var x uint64
	switch m.size {
	case 1:
		x = uint64(b[0])
	case 2:
		x = uint64(binary.LittleEndian.Uint16(b))
	case 4:
		x = uint64(binary.LittleEndian.Uint32(b))
	default:
		x = binary.LittleEndian.Uint64(b)
	}
	if m.signed {
		n := 64 - m.size*8
		x = uint64(int64(x<<n) >> n)
	}
	return x
}

func (m *memop) put(b []byte, x uint64) {
	switch m.size {
	case 1:
		b[0] = byte(x)
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(x))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(x))
	default:
		binary.LittleEndian.PutUint64(b, x)
	}
}

// gather reads the elements of all lanes, which lie one behind the other.
func (w *warp) gather(m *memop, b []byte) {
	switch {
	case m.size == 4 && !m.signed && len(m.regs) == 4:
		d0, d1, d2, d3 := &w.regs[m.regs[0]], &w.regs[m.regs[1]], &w.regs[m.regs[2]], &w.regs[m.regs[3]]
		for lane := range warpSize {
			v := (*[16]byte)(b[16*lane:])
			low, high := binary.LittleEndian.Uint64(v[:]), binary.LittleEndian.Uint64(v[8:])
			d0[lane], d1[lane], d2[lane], d3[lane] = low&0xffffffff, low>>32, high&0xffffffff, high>>32
		}
	case m.size == 4 && !m.signed && len(m.regs) == 1:
		d := &w.regs[m.regs[0]]
		for lane := range warpSize {
			d[lane] = uint64(binary.LittleEndian.Uint32(b[4*lane:]))
		}
	default:
		for i, slot := range m.regs {
			at := uint64(i) * m.size
			for lane := range warpSize {
				w.regs[slot][lane] = m.get(b[at:])
				at += m.bytes
			}
		}
	}
}

// scatter writes the elements of all lanes.
func (w *warp) scatter(m *memop, b []byte) {
	switch {
	case m.size == 4 && len(m.regs) == 4:
		s0, s1, s2, s3 := &w.regs[m.regs[0]], &w.regs[m.regs[1]], &w.regs[m.regs[2]], &w.regs[m.regs[3]]
		for lane := range warpSize {
			v := (*[16]byte)(b[16*lane:])
			binary.LittleEndian.PutUint64(v[:], s0[lane]&0xffffffff|s1[lane]<<32)
			binary.LittleEndian.PutUint64(v[8:], s2[lane]&0xffffffff|s3[lane]<<32)
		}
	case m.size == 4 && len(m.regs) == 1:
		s := &w.regs[m.regs[0]]
		for lane := range warpSize {
			binary.LittleEndian.PutUint32(b[4*lane:], uint32(s[lane]))
		}
	default:
		for i, slot := range m.regs {
			at := uint64(i) * m.size
			for lane := range warpSize {
				m.put(b[at:], w.regs[slot][lane])
				at += m.bytes
			}
		}
	}
}
