package emit

import (
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/internal/x86"
)

// Moves is a loop that moves bytes and computes nothing: what zeroes and copies memory, and the ceiling that a step is held to.
type Moves struct {
	Sizes []int  // of each address that the loop is given: the bytes that an element has there, 1, 2, 4 or 8
	Moves []Move // in the order in which a round makes them
	Set   *Set
	Lines int // cache lines that a round takes where elements are smallest
	Near  int // bytes ahead of each address at which to prefetch into the first-level cache; 0: nothing
	Far   int // and into the second-level cache
}

// Move is what a loop does with the same place behind each of two addresses.
type Move struct {
	From int  // the address of what is loaded; Nothing: zeros are stored
	To   int  // the address of where that is stored; Nothing: nowhere
	Past bool // the store goes past the caches, to a multiple of 64 bytes
}

// Nothing is no address.
const Nothing = -1

// Round is the elements that the loop takes at a time: it is run on a multiple of them, which is not 0.
func (m *Moves) Round() int { return m.Lines * roundBytes / slices.Min(m.Sizes) }

// Registers of moves: of AVX-512's, too, the first 16 suffice.
const (
	moved  = 0
	zeroes = 1
)

// Compile makes the loop.
func (m Moves) Compile() (*Code, error) {
	code := &Code{}
	a := &code.asm
	bases := []x86.Arg{x86.R(8), x86.R(9), x86.R(10), x86.R(11), x86.R(12), x86.R(13), end, frame, block, planes}
	direct := len(m.Sizes)
	if direct > len(bases) { // the rest are loaded each time, into the register before the last
		direct = len(bases) - 2
	}
	for i := range direct {
		a.Emit(x86.LOAD, bases[i], x86.Mem(planes, 8*i))
	}
	address := func(i, bytes int) x86.Arg {
		base := bases[min(i, len(bases)-2)]
		if i < direct {
			base = bases[i]
		} else {
			a.Emit(x86.LOAD, base, x86.Mem(planes, 8*i))
		}
		return x86.At(base, at, m.Sizes[i], bytes)
	}
	ins := func(op x86.Op, args ...x86.Arg) {
		i := x86.Ins{Op: op, Size: m.Set.vector}
		copy(i.Args[:], args)
		a.Add(i)
	}
	if zero := x86.V(zeroes); slices.ContainsFunc(m.Moves, func(move Move) bool { return move.From == Nothing }) {
		ins(x86.VXORPS, zero, zero, zero)
	}
	round := m.Round()
	again := a.Label()
	a.Emit(x86.XOR4, at, at)
	a.Emit(x86.ALIGN, x86.Imm(32))
	a.Emit(x86.LABEL, again)
	for line := range m.Lines {
		for _, move := range m.Moves {
			size := m.Sizes[max(move.From, move.To)]
			each := round / m.Lines * size // bytes
			for b := line * each; b < (line+1)*each; b += m.Set.vector {
				from := x86.V(zeroes)
				if move.From != Nothing {
					from = x86.V(moved)
					ins(x86.VMOVUPS, from, address(move.From, b))
				}
				if move.To != Nothing {
					op := x86.VSTOREUPS
					if move.Past {
						op = x86.VMOVNTPS
					}
					ins(op, address(move.To, b), from)
				}
			}
		}
	}
	for i, size := range m.Sizes {
		if !slices.ContainsFunc(m.Moves, func(move Move) bool { return move.From == i || move.To == i && !move.Past }) {
			continue // what is only stored past the caches is not to be in them
		}
		for b := 0; b < round*size; b += roundBytes {
			if m.Far != 0 {
				a.Emit(x86.PREFETCHT1, address(i, b+m.Far))
			}
			if m.Near != 0 {
				a.Emit(x86.PREFETCHT0, address(i, b+m.Near))
			}
		}
	}
	a.Emit(x86.SUBI, at, x86.Imm(-round)) // of 128, only the negative is a byte
	a.Emit(x86.CMP, at, count)
	a.Emit(x86.JB, again)
	if slices.ContainsFunc(m.Moves, func(move Move) bool { return move.Past }) {
		a.Emit(x86.SFENCE)
	}
	a.Emit(x86.VZEROUPPER)
	a.Emit(x86.RET)
	var err error
	if code.Text, err = a.Bytes(); err != nil {
		return nil, fmt.Errorf("emit: moves: %w", err)
	}
	return code, nil
}
