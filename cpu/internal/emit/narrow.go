package emit

import (
	"fmt"

	"github.com/fusestep/fusestep/internal/x86"
)

// Narrow makes a loop over rows of a few numbers each, at most 16, that follow each other in memory, or over matrices of them. It is given two addresses, of
// what it reads and of what it writes, and how many rows or matrices there are. All instructions are AVX2's. Within Past numbers behind its end it reads what
// it reads, and except for sums of rows it writes what it writes.
type Narrow struct {
	Does    NarrowDoes
	Columns int // numbers of a row
	Rows    int // of a matrix
	Size    int // bytes of a number
	Squares bool
	Stride  int // of SumColumns: from the sums of a matrix to the next one's, in float64s
}

// Past is the numbers that a Narrow may touch behind an end.
const Past = 8

// NarrowDoes is what a Narrow does.
type NarrowDoes uint8

const (
	SpreadRows    NarrowDoes = iota // writes a number for each row as often as a row has numbers
	SpreadColumns                   // writes a row for each matrix as often as it has rows
	SumRows                         // writes a float64 for each row: its sum, by lanes as of a Fill
	SumColumns                      // writes float64s for each matrix: its columns' sums, row after row
)

// narrow is where a Narrow's code has what.
type narrow struct {
	Narrow
	asm      *x86.Asm
	from, to x86.Arg
}

// Registers of a Narrow.
var (
	narrowZero = x86.V(15)
	narrowMask = x86.V(14)
)

// Compile makes the loop.
func (l Narrow) Compile() (*Code, error) {
	code := &Code{Index: -1, Lanes: -1, Rows: -1}
	c := &narrow{Narrow: l, asm: &code.asm, from: x86.R(8), to: x86.R(9)}
	c.asm.Emit(x86.LOAD, c.from, x86.Mem(planes, 0))
	c.asm.Emit(x86.LOAD, c.to, x86.Mem(planes, word))
	read, write, body, several := c.parts()
	stepRead, stepWrite := x86.R(10), x86.R(11)
	group := max(1, 4/max(c.Rows, 1))
	each := func(n int) {
		again, done := c.asm.Label(), c.asm.Label()
		c.asm.Emit(x86.MOV4, stepRead, x86.Imm(n*read))
		c.asm.Emit(x86.MOV4, stepWrite, x86.Imm(n*write))
		c.asm.Emit(x86.SUBI, count, x86.Imm(n))
		c.asm.Emit(x86.JB, done)
		c.asm.Emit(x86.ALIGN, x86.Imm(32))
		c.asm.Emit(x86.LABEL, again)
		if several != nil && n > 1 {
			several(n)
		} else {
			for i := range n {
				body(i*read, i*write)
			}
		}
		c.asm.Emit(x86.ADD, c.from, stepRead)
		c.asm.Emit(x86.ADD, c.to, stepWrite)
		c.asm.Emit(x86.SUBI, count, x86.Imm(n))
		c.asm.Emit(x86.JAE, again)
		c.asm.Emit(x86.LABEL, done)
		c.asm.Emit(x86.ADDI, count, x86.Imm(n))
	}
	if group > 1 {
		each(group)
	}
	each(1)
	c.asm.Emit(x86.VZEROUPPER)
	c.asm.Emit(x86.RET)
	var err error
	if code.Text, err = code.asm.Bytes(); err != nil {
		return nil, fmt.Errorf("emit: narrow matrices: %w", err)
	}
	return code, nil
}

// parts are the bytes from what is read of a row, or a matrix, to the next one's, and from what is written, the code of one of them, which is so many bytes on,
// and if that is another the code of several.
func (c *narrow) parts() (read, write int, body func(read, write int), several func(n int)) {
	vector := AVX2.vector / c.Size // numbers
	move, store := x86.VMOVUPS, x86.VSTOREUPS
	switch c.Does {
	case SpreadRows:
		op := x86.VBROADCASTSS
		if c.Size == doubles {
			op = x86.VBROADCASTSD
		}
		return c.Size, c.Columns * c.Size, func(read, write int) {
			x := x86.V(0)
			c.ins(op, x, x86.Mem(c.from, read))
			for i := 0; i < c.Columns; i += vector {
				c.ins(store, x86.Mem(c.to, write+i*c.Size), x)
			}
		}, nil
	case SpreadColumns:
		return c.Columns * c.Size, c.Rows * c.Columns * c.Size, func(read, write int) {
			for i := 0; i < c.Columns; i += vector {
				c.ins(move, x86.V(i/vector), x86.Mem(c.from, read+i*c.Size))
			}
			for row := range c.Rows {
				for i := 0; i < c.Columns; i += vector {
					c.ins(store, x86.Mem(c.to, write+(row*c.Columns+i)*c.Size), x86.V(i/vector))
				}
			}
		}, nil
	case SumRows:
		c.zero()
		if c.Columns == 1 {
			several = func(n int) {
				for i := 0; i < n; i += quad {
					c.terms(x86.V(0), i*c.Size)
					c.ins(x86.VADDPD, x86.V(0), x86.V(0), narrowZero)
					c.ins(x86.VSTOREUPD, x86.Mem(c.to, i*doubles), x86.V(0))
				}
			}
		}
		if c.Columns > quad && c.Columns%quad != 0 {
			c.maskOf(c.Columns % quad)
		}
		return c.Columns * c.Size, doubles, c.sumRow, several
	default:
		c.zero()
		return c.Rows * c.Columns * c.Size, c.Stride * doubles, c.sumColumns, nil
	}
}

func (c *narrow) ins(op x86.Op, args ...x86.Arg) {
	i := x86.Ins{Op: op, Size: AVX2.vector}
	if op == x86.VSTOREQ {
		i.Size = AVX2.vector / 2
	}
	copy(i.Args[:], args)
	c.asm.Add(i)
}

func (c *narrow) zero() { c.ins(x86.VXORPS, narrowZero, narrowZero, narrowZero) }

// maskOf makes the mask of the first 1 to 3 float64s of a vector.
func (c *narrow) maskOf(n int) {
	c.ins(x86.VPCMPEQQ, narrowMask, narrowZero, narrowZero)
	c.ins(x86.VPBLENDW, narrowMask, narrowZero, narrowMask, x86.Imm(0x0F)) // every second one
	c.ins(x86.VPERMQ, narrowMask, narrowMask, []x86.Arg{1: places(0, 1, 1, 1), 2: places(0, 0, 1, 1), 3: places(0, 0, 0, 1)}[n])
}

// terms loads float64s.
func (c *narrow) terms(to x86.Arg, at int) {
	op := x86.VCVTPS2PD
	if c.Size == doubles {
		op = x86.VMOVUPD
	}
	c.ins(op, to, x86.Mem(c.from, at))
	if c.Squares {
		c.ins(x86.VMULPD, to, to, to)
	}
}

// sumRow is SumRows of one row: its lanes, of which those behind the row's end are 0 or not looked at, are halved.
func (c *narrow) sumRow(read, write int) {
	n := 0 // vectors
	for i := 0; i < c.Columns; i += quad {
		c.terms(x86.V(n), read+i*c.Size)
		if i > 0 && c.Columns-i < quad {
			c.ins(x86.VANDPD, x86.V(n), x86.V(n), narrowMask)
		}
		n++
	}
	for apart := 2; apart > 0; apart /= 2 {
		for i := 0; i+apart < n; i++ {
			c.ins(x86.VADDPD, x86.V(i), x86.V(i), x86.V(i+apart))
		}
		n = min(n, apart)
	}
	x, other, second := x86.V(0), x86.V(1), x86.V(2)
	upper := places(2, 3, 2, 3)
	if c.Columns == 3 {
		c.ins(x86.VPSHUFD, second, x, upper)
	}
	if c.Columns > 2 {
		c.ins(x86.VPERMQ, other, x, upper)
		c.ins(x86.VADDPD, x, x, other)
	}
	if c.Columns > 1 {
		if c.Columns != 3 {
			c.ins(x86.VPSHUFD, second, x, upper)
		}
		c.ins(x86.VADDPD, x, x, second)
	}
	c.ins(x86.VADDPD, x, x, narrowZero) // from 0 on, also where all terms are -0
	c.ins(x86.VSTOREQ, x86.Mem(c.to, write), x)
}

// sumColumns is SumColumns of one matrix.
func (c *narrow) sumColumns(read, write int) {
	sum, term := x86.V(0), x86.V(1)
	for i := 0; i < c.Columns; i += quad {
		c.terms(sum, read+i*c.Size)
		c.ins(x86.VADDPD, sum, narrowZero, sum)
		for row := 1; row < c.Rows; row++ {
			c.terms(term, read+(row*c.Columns+i)*c.Size)
			c.ins(x86.VADDPD, sum, sum, term)
		}
		c.ins(x86.VSTOREUPD, x86.Mem(c.to, write+i*doubles), sum)
	}
}
