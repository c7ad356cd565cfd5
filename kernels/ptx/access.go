package ptx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
)

// An element is how a field's value stands in a register and in memory.
type element struct {
	typ    string // f32, f64 or b32
	memory string // f32, f64, u32, u16 or u8
	size   int    // bytes in memory
}

func elementOf(t ir.Type, width int) element {
	e := element{typ: fmt.Sprintf("f%d", width), size: t.Size(width)}
	e.memory = e.typ
	if t != ir.Float {
		e.typ, e.memory = "b32", fmt.Sprintf("u%d", 8*e.size)
	}
	return e
}

// An access is n elements side by side, loaded or stored at once. A vector of PTX has four registers at most, so that of more
// elements several share a register of 32 bits.
type access struct {
	*writer
	element
	n       int
	address string
	name    func(what string, i int) string // of a register
}

// each is how many elements share a register.
func (a *access) each() int {
	if a.n <= 4 {
		return 1
	}
	return 4 / a.size
}

// form is what follows ld.global and st.global.
func (a *access) form() string {
	memory := a.memory
	if a.each() > 1 {
		memory = "b32"
	}
	if n := a.n / a.each(); n > 1 {
		return fmt.Sprintf(".v%d.%s", n, memory)
	}
	return "." + memory
}

// in is the register that element i is loaded into.
func (a *access) in(i int) string { return a.reg(a.typ, a.name("in", i)) }

// whole are the registers of what is in memory.
func (a *access) whole() (all []string) {
	for i := range a.n / a.each() {
		if a.each() == 1 {
			all = append(all, a.in(i))
		} else {
			all = append(all, a.reg("b32", a.name("in_packed", i)))
		}
	}
	return all
}

func vector(registers []string) string {
	if len(registers) == 1 {
		return registers[0]
	}
	return "{" + strings.Join(registers, ", ") + "}"
}

func (a *access) load() {
	a.op("%s%s %s, [%s]", hinted("ld.global", a.hints.Load), a.form(), vector(a.whole()), a.address)
}

// store stores registers, under a condition if there is one.
func (a *access) store(guard string, registers []string) {
	a.op("%s%s%s [%s], %s", guard, hinted("st.global", a.hints.Store), a.form(), a.address, vector(registers))
}

// clear makes what is in memory 0.
func (a *access) clear() {
	for _, r := range a.whole() {
		zero := "0"
		if a.typ != "b32" {
			zero = imm(a.typ, 0)
		}
		a.op("mov.%s %s, %s", a.typ, r, zero)
	}
}

// unpack makes elements of registers that several share.
func (a *access) unpack() {
	each := a.each()
	for i := 0; i < a.n && each > 1; i++ {
		from, to := a.whole()[i/each], a.in(i)
		switch {
		case a.size == 1: // a byte of the first operand, and three times one of the second, 0
			a.op("prmt.b32 %s, %s, 0, 0x%x", to, from, 0x4440+i%each)
		case i%2 == 0: // ptxas joins either with what shifts or converts its result, which it does not with prmt
			a.op("and.b32 %s, %s, 0xffff", to, from)
		default:
			a.op("shr.u32 %s, %s, 16", to, from)
		}
	}
}

// pack is the registers to store elements from.
func (a *access) pack(elements []string) (all []string) {
	if a.each() == 1 {
		return elements
	}
	for some := range slices.Chunk(elements, a.each()) {
		out := func(what string) string { return a.reg("b32", a.name(what, len(all))) }
		low, high := some[0], some[1]
		if a.size == 1 {
			low, high = out("out_low"), out("out_high")
			a.op("prmt.b32 %s, %s, %s, 0x40", low, some[0], some[1])
			a.op("prmt.b32 %s, %s, %s, 0x40", high, some[2], some[3])
		}
		a.op("prmt.b32 %s, %s, %s, 0x5410", out("out"), low, high)
		all = append(all, out("out"))
	}
	return all
}
