package ptx

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

// A plane is a buffer of each tensor: a field of the graph's elements.
type plane struct {
	field       int // index in the graph's Vars
	name        string
	typ         string // of a register that holds an element: f32, f64 or b32
	memory      string // what an element is in memory: f32, f64, u32, u16 or u8
	size        int    // its bytes
	load, store bool
}

// planes are those that a graph loads or stores, in order of field.
func planes(f *ir.Func) (all []*plane) {
	loads := f.Loads()
	for v, field := range f.Vars {
		p := &plane{field: v, name: field.Name, size: field.Type.Size(f.Width), load: slices.Contains(loads, v),
			store: slices.ContainsFunc(f.Stores, func(s ir.Store) bool { return s.Var == v })}
		p.typ, p.memory = types(field.Type, f.Width)
		if field.Bank == rule.ElemBank && (p.load || p.store) {
			all = append(all, p)
		}
	}
	return all
}

// types are a field's type in a register and in memory.
func types(t ir.Type, width int) (register, memory string) {
	if t == ir.Float {
		register = fmt.Sprintf("f%d", width)
		return register, register
	}
	return "b32", fmt.Sprintf("u%d", 8*t.Size(width))
}

// shift is by how many bits a number is moved to divide it by n, a power of two. The driver's compiler does not turn div.u64 into that: it
// calls a function of some 70 instructions.
func shift(n int) int { return bits.TrailingZeros(uint(n)) }

// own is the name of a register that belongs to the plane, by the field of the rule's element struct.
func (p *plane) own(name string) string { return named(name, p.name) }

// An access is n elements of a plane, loaded or stored at once. A vector of PTX has four registers at most, so that of more
// elements several share a register of 32 bits.
type access struct {
	*writer
	p       *plane
	n       int
	address string
}

// each is how many elements share a register.
func (a *access) each() int {
	if a.n <= 4 {
		return 1
	}
	return 4 / a.p.size
}

// form is what follows ld.global and st.global.
func (a *access) form() string {
	memory := a.p.memory
	if a.each() > 1 {
		memory = "b32"
	}
	if n := a.n / a.each(); n > 1 {
		return fmt.Sprintf(".v%d.%s", n, memory)
	}
	return "." + memory
}

// element is the register that an element is loaded into.
func (a *access) element(i int) string { return a.reg(a.p.typ, a.p.own(fmt.Sprintf("in_%d", i))) }

// registers are what the memory is loaded into and, in a traffic, stored from.
func (a *access) registers() (all []string) {
	for i := range a.n / a.each() {
		if a.each() == 1 {
			all = append(all, a.element(i))
		} else {
			all = append(all, a.reg("b32", a.p.own(fmt.Sprintf("in_packed_%d", i))))
		}
	}
	return all
}

func group(registers []string) string {
	if len(registers) == 1 {
		return registers[0]
	}
	return "{" + strings.Join(registers, ", ") + "}"
}

func (a *access) load() { a.op("ld.global%s %s, [%s]", a.form(), group(a.registers()), a.address) }

// store stores registers, under a condition if there is one.
func (a *access) store(guard string, registers []string) {
	a.op("%sst.global%s [%s], %s", guard, a.form(), a.address, group(registers))
}

// clear makes the registers 0.
func (a *access) clear() {
	for _, r := range a.registers() {
		if a.p.typ == "b32" {
			a.op("mov.b32 %s, 0", r)
		} else {
			a.op("mov.%s %s, %s", a.p.typ, r, imm(a.p.typ, 0))
		}
	}
}

// unpack makes elements of registers that several share.
func (a *access) unpack() {
	each := a.each()
	for i := 0; i < a.n && each > 1; i++ {
		from, to := a.registers()[i/each], a.element(i)
		switch {
		case a.p.size == 1: // its byte, and three times byte 4, which is the first of 0
			a.op("prmt.b32 %s, %s, 0, 0x%x", to, from, 0x4440+i%each)
		case i%2 == 0: // the compiler knows what a shift makes of that
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
		out := func(part string) string { return a.reg("b32", a.p.own(fmt.Sprintf("out_%d%s", len(all), part))) }
		low, high := some[0], some[1]
		if a.p.size == 1 {
			low, high = out("_low"), out("_high")
			a.op("prmt.b32 %s, %s, %s, 0x40", low, some[0], some[1])
			a.op("prmt.b32 %s, %s, %s, 0x40", high, some[2], some[3])
		}
		a.op("prmt.b32 %s, %s, %s, 0x5410", out(""), low, high)
		all = append(all, out(""))
	}
	return all
}
