package emit

import (
	"slices"

	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// Matrix makes a loop that goes over rows, of as many elements each as it is called with, at least one: see Code.Rows. Behind the addresses of planes and of fills
// of columns it is given one for each of Numbers, where the first row's is and the others' follow it, and one for each other fill, where the first row's
// result goes, instead of to the lanes. What the block has for Numbers, the loop changes.
type Matrix struct {
	Columns []int      // those of Loop.Planes that begin anew with each row
	Numbers []ir.Value // those of Loop.Uniforms that each row has to itself
}

// RowWords are the words of 8 bytes that a loop over a matrix finds at Code.Rows: how many rows there are, at least one; the elements from the beginning
// of one to that of the next; and the bytes from where the result of a fill goes to where the next row's goes. The loop changes the first.
const RowWords = 3

// matrix is where in the frame a loop over a matrix has what it needs.
type matrix struct {
	rowsAt      int // RowWords, and then the elements of a row
	addressesAt int // of the row: see Compile
}

const word = 8

// rowLen is the memory with the elements of a row.
func (c *compiler) rowLen() x86.Arg { return x86.Mem(frame, c.rowsAt+RowWords*word) }

// isColumn says whether a plane begins anew with each row.
func (c *compiler) isColumn(plane int) bool {
	return c.Matrix != nil && slices.Contains(c.Matrix.Columns, plane)
}

// isRow says whether each row has a uniform to itself.
func (c *compiler) isRow(v value) bool {
	return c.Matrix != nil && slices.Contains(c.Matrix.Numbers, ir.Value(v))
}

// results are the fills that each row has a result of.
func (c *compiler) results() (list []int) {
	for k, fill := range c.Fills {
		if !fill.Columns {
			list = append(list, k)
		}
	}
	return list
}

// nextAt is how many addresses there are before those of Next.
func (c *compiler) nextAt() int {
	if c.Matrix == nil {
		return len(c.sizes)
	}
	return len(c.sizes) + len(c.Matrix.Numbers) + len(c.results())
}

// enterMatrix brings the addresses to the frame.
func (c *compiler) enterMatrix() {
	if c.Matrix == nil {
		return
	}
	n := c.nextAt() + len(c.Next)
	vector := c.Set.vector
	c.rowsAt = c.reserve(vector)
	c.addressesAt = c.reserve((n*word + vector - 1) / vector * vector)
	c.asm.Emit(x86.MOV, c.rowLen(), count)
	for i := range n {
		c.asm.Emit(x86.LOAD, end, x86.Mem(planes, i*word))
		c.asm.Emit(x86.MOV, c.address(i), end)
	}
}

// loadRow brings a row's numbers to where the rounds look for uniforms.
func (c *compiler) loadRow() {
	if c.Matrix == nil {
		return
	}
	store := x86.VSTORED
	if c.size == doubles {
		store = x86.VSTOREQ
	}
	for i, u := range c.Matrix.Numbers {
		v := value(u)
		c.asm.Emit(x86.LOAD, end, c.address(len(c.sizes)+i))
		c.vector(x86.VBROADCASTSS, c.names[v], x86.V(0), x86.Mem(end, 0))
		c.sized(store, 16, 0, c.names[v], x86.Mem(block, c.inBlock[v]*c.size), x86.V(0))
		if c.copyAt[v] != 0 {
			c.vector(x86.VSTOREUPS, c.names[v], x86.Mem(frame, c.copyAt[v]), x86.V(0))
		}
	}
}

// result stores the result of a fill, which is a register's first number: to the lanes, or where the row's goes.
func (c *compiler) result(k int, from x86.Arg) {
	if c.Matrix == nil {
		c.sized(x86.VSTOREQ, 16, 0, allLanes, c.fixed(k, 0), from)
		return
	}
	c.asm.Emit(x86.LOAD, end, c.address(len(c.sizes)+len(c.Matrix.Numbers)+slices.Index(c.results(), k)))
	if from.Number() < AVX2.number {
		c.sized(x86.VSTOREQ, 16, 0, allLanes, x86.Mem(end, 0), from)
		return
	}
	c.sized(x86.VSTOREUPD, AVX2.vector, 0, allLanes, x86.Mem(frame, c.termAt), from)
	c.asm.Emit(x86.LOAD, laneOf, x86.Mem(frame, c.termAt))
	c.asm.Emit(x86.MOV, x86.Mem(end, 0), laneOf)
}

// endRow goes to the next row, if there is one.
func (c *compiler) endRow(again x86.Arg) {
	if c.Matrix == nil {
		return
	}
	step := end
	c.asm.Emit(x86.LOAD, step, x86.Mem(frame, c.rowsAt+word))
	if c.hasElement() {
		c.asm.Emit(x86.ADD, x86.Mem(frame, c.indexAt), step)
	}
	for size := 1; size <= doubles; size *= 2 { // the step is of so many bytes
		for i, v := range c.Planes {
			if c.sizes[i] == size && !c.isColumn(v) {
				c.asm.Emit(x86.ADD, c.address(i), step)
			}
		}
		for i, next := range c.Next {
			if next.Size == size {
				c.asm.Emit(x86.ADD, c.address(c.nextAt()+i), step)
			}
		}
		c.asm.Emit(x86.ADD, step, step)
	}
	behind := len(c.sizes)
	if len(c.Matrix.Numbers) > 0 {
		c.asm.Emit(x86.MOV4, step, x86.Imm(c.size))
	}
	for range c.Matrix.Numbers {
		c.asm.Emit(x86.ADD, c.address(behind), step)
		behind++
	}
	c.asm.Emit(x86.LOAD, step, x86.Mem(frame, c.rowsAt+2*word))
	for range c.results() {
		c.asm.Emit(x86.ADD, c.address(behind), step)
		behind++
	}
	left := at
	c.asm.Emit(x86.LOAD, count, c.rowLen())
	c.asm.Emit(x86.LOAD, left, x86.Mem(frame, c.rowsAt))
	c.asm.Emit(x86.SUBI, left, x86.Imm(1))
	c.asm.Emit(x86.MOV, x86.Mem(frame, c.rowsAt), left)
	c.asm.Emit(x86.JG, again)
}

// spans are the numbers of lanes of which a loop begins and halves no more than it needs: rows may be short, and there are many.
func (c *compiler) spans() []int {
	if c.Matrix == nil {
		return []int{Lanes}
	}
	return []int{16, 32, 64, Lanes}
}

// short says whether a row of a vector's elements, or less, has a way of its own.
func (c *compiler) short() bool { return c.Matrix != nil && len(c.Fills) > 0 }

// pairs says whether a row of two vectors' elements has one, too: whether there are registers for the first one's terms.
func (c *compiler) pairs() bool {
	return c.short() && !c.split && len(c.results())*c.terms() <= c.Set.number/4
}

// terms is how many registers a vector's terms take.
func (c *compiler) terms() int { return doubles / c.size }

// shortRow writes what becomes of rows of a vector's elements, or less, and of two vectors': their terms need no lanes in memory. It returns where they go on.
func (c *compiler) shortRow() (next x86.Arg) {
	next = c.asm.Label()
	if !c.short() {
		return next
	}
	long, held := c.asm.Label(), c.held
	c.held = false
	c.asm.Emit(x86.CMPI, count, x86.Imm(c.lanes()))
	c.asm.Emit(x86.JG, long)
	c.asm.Emit(x86.XOR4, at, at)
	b := c.newBody(true)
	b.alone = true
	c.copyTail(false)
	c.tailMask(b.mask, c.lanes())
	b.run(0)
	c.prefetchRow()
	c.copyTail(true)
	c.asm.Emit(x86.JMP, next)
	c.asm.Emit(x86.LABEL, long)
	if c.pairs() {
		longer := c.asm.Label()
		c.asm.Emit(x86.CMPI, count, x86.Imm(2*c.lanes()))
		c.asm.Emit(x86.JG, longer)
		c.asm.Emit(x86.XOR4, at, at)
		c.pair()
		c.asm.Emit(x86.JMP, next)
		c.asm.Emit(x86.LABEL, longer)
	}
	c.held = held
	return next
}

// pair writes what becomes of two vectors that are all a row has, and returns how many registers that takes.
func (c *compiler) pair() (peak int) {
	narrow := false
	for i := range c.Planes {
		narrow = narrow || c.narrow(i)
	}
	write := func(b *body, others int) {
		if !c.Set.wide {
			others++ // the mask
		}
		if b.alone = true; b.mask >= 0 {
			c.copyTail(false)
			c.tailMask(b.mask, c.lanes())
		}
		b.run(0)
		c.prefetchRow()
		if b.mask >= 0 {
			c.copyTail(true)
		}
		peak = max(peak, b.files[vectors].peak+others)
	}
	first := c.newBody(true)   // whose terms stay clear of the second one's mask
	if c.Set.wide || !narrow { // with AVX2, small elements of a vector that is not masked wait for the next one
		first.mask = -1
	}
	first.opens, first.opened = true, make([][]x86.Arg, len(c.Fills))
	write(first, 0)
	c.asm.Emit(x86.ADDI, at, x86.Imm(c.lanes()))
	c.asm.Emit(x86.SUBI, count, x86.Imm(c.lanes()))
	second := c.newBody(true)
	second.opened = first.opened
	n := 0
	for _, held := range second.opened {
		for _, r := range held { // several fills may have the same
			if h := &second.files[vectors].holds[r.Number()]; *h == empty {
				*h = taken
				n++
			}
		}
	}
	write(second, n)
	return peak
}

// open keeps the terms of the first of two vectors, and adds to columns.
func (b *body) open(fills []int, terms []x86.Arg, name string) {
	kept := false
	for _, k := range fills {
		if !b.Fills[k].Columns {
			b.opened[k], kept = terms, true
			continue
		}
		for i, t := range terms {
			b.toLanes([]int{k}, i*b.Set.vector/doubles, t, name)
		}
	}
	if !kept {
		b.release(terms...)
	}
}

// lanesOf leaves in a register the lanes of one of a vector's terms, to which those of the first of two vectors are joined. Other is a free register.
func (b *body) lanesOf(k int, to x86.Arg, terms []x86.Arg, i int, other, truth x86.Arg, name string) {
	vector, squares, t := b.Set.vector, b.Fills[k].Kind == FillSquares, terms[i]
	if b.opened != nil {
		t = b.opened[k][i]
	}
	if squares {
		b.sized(x86.VMULPD, vector, 0, name, to, t, t)
	} else {
		b.sized(x86.VMOVUPD, vector, 0, name, to, t)
	}
	switch {
	case b.opened == nil:
	case b.exact(b.Fills[k].Kind):
		b.sized(x86.VFMADD231PD, vector, 0, name, to, terms[i], terms[i])
	case squares:
		b.sized(x86.VMULPD, vector, 0, name, other, terms[i], terms[i])
		b.joinBy(k, vector, to, other, truth, name)
	default:
		b.joinBy(k, vector, to, terms[i], truth, name)
	}
}

// resultsOf makes of a row's terms, widened, what they fill.
func (b *body) resultsOf(fills []int, terms []x86.Arg, name string) {
	vector := b.Set.vector
	x, other := b.between(), b.between()
	for _, k := range fills {
		fill := b.Fills[k]
		if fill.Columns {
			for i, t := range terms {
				b.toLanes([]int{k}, i*vector/doubles, t, name)
			}
			continue
		}
		truth := b.between()
		b.lanesOf(k, x, terms, 0, other, truth, name)
		for i := 1; i < len(terms); i++ {
			if t := terms[i]; b.opened != nil {
				b.lanesOf(k, other, terms, i, x86.Arg{}, truth, name) // of several terms, squares are exact
				b.joinBy(k, vector, x, other, truth, name)
			} else if b.exact(fill.Kind) {
				b.sized(x86.VFMADD231PD, vector, 0, name, x, t, t)
			} else {
				b.joinBy(k, vector, x, t, truth, name)
			}
		}
		if vector > AVX2.vector {
			b.sized(x86.VSTOREUPD, vector, 0, name, x86.Mem(frame, b.termAt), x)
			b.sized(x86.VMOVUPD, AVX2.vector, 0, name, other, x86.Mem(frame, b.termAt+AVX2.vector))
			b.joinBy(k, AVX2.vector, x, other, truth, name)
		}
		for _, upper := range []x86.Arg{places(2, 3, 2, 3), places(1, 1, 1, 1)} {
			b.sized(x86.VPERMQ, AVX2.vector, 0, name, other, x, upper)
			b.joinBy(k, AVX2.vector, x, other, truth, name)
		}
		if fill.Kind == FillSum { // from 0 on, also where all terms are -0
			b.sized(x86.VXORPS, AVX2.vector, 0, name, other, other, other)
			b.sized(x86.VADDPD, AVX2.vector, 0, name, x, x, other)
		}
		b.release(truth)
		b.result(k, x)
	}
	b.release(x, other)
}

// joinBy is join with a register for what is compared.
func (b *body) joinBy(k, size int, to, other, truth x86.Arg, name string) {
	if b.Fills[k].Kind != FillMax {
		b.sized(x86.VADDPD, size, 0, name, to, to, other)
		return
	}
	if b.Set.wide {
		free := b.idle(masks)
		b.files[masks].holds[free] = empty
		truth = x86.K(free)
	}
	b.greatest(size, to, other, truth, name)
}
