package emit

import (
	"math"
	"slices"

	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// layout is where things are in the frame, in bytes.
type layout struct {
	constants int   // before what is spilled
	total     int   // in all
	copyAt    []int // of a uniform, with AVX2: its vector
	places    []int // of a plane of small elements, with AVX2 or in parts: what of it waits for the rest
	indexAt   int   // the index of the first element, and behind it ordinals, one byte for each element of firstAt
	lowAt     int   // a vector of the low word of the first element's index
	highAt    int   // and of the high one
	firstAt   int   // vectors of the low words of the first round's indices, and with parts those of a tail
	lanesAt   int   // the lanes of the fills
	termAt    int   // a vector of terms
	matrix
}

// reserve is so many bytes of the frame, which are a multiple of a vector's.
func (c *compiler) reserve(bytes int) (at int) {
	at = c.constants
	c.constants += bytes
	return at
}

// enter loads the addresses of the planes and the uniforms.
func (c *compiler) enter() {
	if !c.Set.wide {
		c.reserve(2 * c.Set.vector) // ones, then zeros: see tailMask
		for v := range c.uses {
			if c.inBlock[v] >= 0 && len(c.uses[v]) > 0 && !slices.Contains(c.kept[vectors], value(v)) {
				c.copyAt[v] = c.reserve(c.Set.vector)
				if !c.isRow(value(v)) {
					c.broadcast(0, value(v))
					c.vector(x86.VSTOREUPS, "", x86.Mem(frame, c.copyAt[v]), x86.V(0))
				}
			}
		}
	}
	for i := range c.Planes {
		if c.narrow(i) && (c.split || !c.Set.wide) {
			c.places[i] = c.reserve(c.Set.vector)
		}
	}
	if c.hasElement() {
		c.reserveIndex()
	}
	if len(c.Fills) > 0 {
		c.lanesAt, c.termAt = c.reserve(len(c.Fills)*lanesSize), c.reserve(c.Set.vector)
	}
	c.enterMatrix()
	c.total = c.constants
}

// beginRow is before the first element: of each row, to which it returns the way.
func (c *compiler) beginRow() (again x86.Arg) {
	if c.Matrix != nil {
		again = c.asm.Label()
		c.asm.Emit(x86.LABEL, again)
	}
	fields := slices.Clone(c.Planes)
	for _, fill := range c.Fills {
		if fill.Columns {
			fields = append(fields, fill.Var)
		}
	}
	for i, v := range fields {
		if c.base[i] != (x86.Arg{}) {
			c.asm.Add(x86.Ins{Op: x86.LOAD, Args: [4]x86.Arg{c.base[i], c.address(i)}, Note: c.Func.Vars[v].Name})
		}
	}
	c.loadRow()
	if c.hasElement() {
		c.enterIndex()
	}
	c.loadKept()
	return again
}

// address is the memory with one of the addresses that the loop is given.
func (c *compiler) address(i int) x86.Arg {
	if c.Matrix != nil {
		return x86.Mem(frame, c.addressesAt+8*i)
	}
	return x86.Mem(planes, 8*i)
}

// loadKept fills the registers of the uniforms that are kept.
func (c *compiler) loadKept() {
	for class, list := range c.kept {
		for i, v := range list {
			n := c.register(class, i)
			if class == masks {
				c.maskIns(x86.KLOADW, c.names[v], x86.K(n), x86.Mem(block, c.inBlock[v]*c.size))
			} else {
				c.broadcast(n, v)
			}
		}
	}
}

// broadcast fills a vector register with a uniform.
func (c *compiler) broadcast(register int, v value) {
	c.vector(x86.VBROADCASTSS, c.names[v], x86.V(register), x86.Mem(block, c.inBlock[v]*c.size))
}

// tailMask makes the mask of the first elements of a vector, as many as are left.
func (c *compiler) tailMask(mask, lanes int) {
	if c.Set.wide { // 1<<count - 1
		c.asm.Emit(x86.XOR4, end, end)
		c.asm.Emit(x86.BTS4, end, count)
		c.asm.Emit(x86.SUBI, end, x86.Imm(1))
		c.asm.Emit(x86.KMOVW, x86.K(mask), end)
		return
	}
	// Ones, then zeros: a vector that begins before the zeros has as many ones as lie between.
	c.asm.Emit(x86.MOV4, end, x86.Imm(lanes))
	c.asm.Emit(x86.CMP, end, count)
	c.asm.Emit(x86.CMOVG, end, count)
	c.asm.Emit(x86.NEG, end)
	c.vector(x86.VMOVUPS, "elements that are left", x86.V(mask), x86.At(frame, end, c.size, c.Set.vector))
}

// FillFrame fills the memory of a frame: with ones in the first vector, which AVX2's tails read.
func FillFrame(memory []byte) {
	clear(memory)
	for i := range min(len(memory), AVX2.vector) {
		memory[i] = 0xFF
	}
}

// Head is how many numbers are in front of the uniforms in a block: see HeadBits.
const Head = 7

// HeadBits are these numbers, as the highest of so many bits: the sign alone, all but the sign, all, the upper half of a word, and what
// VFIXUPIMMPS makes of each class, a NaN becomes quiet; and a half, and the least root that an estimate will do for.
var HeadBits = [Head]uint64{1 << 63, math.MaxUint64 >> 1, math.MaxUint64, 0xffff << 48, 0x22 << 32, 0x3f000000 << 32, leastRoot << 32}

// InBlock is what the block holds for a uniform, as the evaluator has found it: a number, a word's bits, or for a truth value all bits
// or none.
func InBlock[F float32 | float64](eval *ir.Evaluator[F], f *ir.Func, v ir.Value) F {
	bits := uint64(0)
	switch f.Kind(v) {
	case ir.Number:
		return eval.Number(v)
	case ir.Integer:
		bits = uint64(eval.Integer(v))
	default:
		if eval.Condition(v) {
			bits = math.MaxUint64
		}
	}
	var x F
	if p, ok := any(&x).(*float32); ok {
		*p = math.Float32frombits(uint32(bits))
	} else {
		*any(&x).(*float64) = math.Float64frombits(bits)
	}
	return x
}
