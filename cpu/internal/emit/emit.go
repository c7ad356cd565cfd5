// Package emit makes a graph of package ir into machine code: a loop over vectors, with AVX2 or AVX-512.
//
// The loop is given, in the registers that package exec names, the addresses of the planes, the uniforms of a group, a frame for
// itself, and how many elements there are. It counts elements, so planes may have elements of different sizes. Whole rounds come
// first, then what is left, with masks: so the loop touches no byte beyond the planes' ends.
//
// Where all planes have elements of 16 bits beside numbers of 32, a vector of a round has every second element: see parts.go.
//
// A word takes the place of a number in a register, in the frame and in the block; beside numbers of 64 bits its upper half is 0.
package emit

import (
	"fmt"
	"slices"

	"github.com/fusestep/fusestep/internal/x86"
	"github.com/fusestep/fusestep/kernels/ir"
)

// Set is an instruction set.
type Set struct {
	name   string
	vector int     // bytes of a register
	number int     // of registers
	wide   bool    // AVX-512: truth values are in mask registers, and operations take one element of memory for all
	roots  bool    // of float32, by estimates: see roots.go
	most   float64 // of a vector's operations for each root and quotient, where roots are estimated; 0: any number
}

// The instruction sets.
var (
	AVX2   = &Set{name: "AVX2", vector: 32, number: 16}
	AVX512 = &Set{name: "AVX-512", vector: 64, number: 32, wide: true}

	// AVX512Roots is AVX512 with roots by estimates, for processors on which HardRoots come out right: see Within.
	AVX512Roots = &Set{name: "AVX-512, roots by estimates", vector: 64, number: 32, wide: true, roots: true}
)

func (s *Set) String() string { return s.name }

// roundBytes is what a loop takes of its numbers at a time: a cache line.
const roundBytes = 64

// Loop is what to make: a graph, and where it finds its fields.
type Loop struct {
	Func     *ir.Func
	Planes   []int      // the fields that differ between elements, in the order of their addresses
	Uniforms []ir.Value // what is the same for all elements, in the order of the block: see Head
	Varying  []bool     // of the graph's nodes
	Fills    []Fill
	Set      *Set
	Near     int // bytes ahead in each plane at which to prefetch into the first-level cache; 0: nothing
	Far      int // and into the second-level cache
	// Next are planes behind each address that follows all others: there a round prefetches into the second-level cache what has the places of its elements.
	Next   []Next
	Matrix *Matrix // nil: elements that follow each other
}

// Next is a plane that is prefetched, and which another run will take.
type Next struct {
	Size   int // bytes of an element
	Stored bool
}

// Code is a loop.
type Code struct {
	Text  []byte
	Frame int // bytes of memory for each thread, at a multiple of 64, which FillFrame has filled
	Index int // where in the frame the index of a run's first element must be, 8 bytes; the run has fewer than 2^31. -1: nowhere
	Lanes int // where in the frame the lanes of the fills are; -1: nowhere
	Rows  int // where in the frame a loop over a matrix finds what its rows are: see Matrix; -1: nowhere
	asm   x86.Asm
}

// Listing is the code as text, with the names of the rule's variables.
func (c *Code) Listing() (string, error) { return c.asm.Listing() }

// Registers, as package exec hands them over.
var (
	at     = x86.AX // the element that a round begins with
	end    = x86.BX // of the whole rounds
	count  = x86.CX // elements; of the tail, those that are left
	frame  = x86.DX
	block  = x86.SI
	planes = x86.DI // the planes' addresses; where registers suffice for them, the last plane's
)

// bases are for the planes' addresses. R14 and R15 are the runtime's.
var bases = []x86.Arg{x86.R(8), x86.R(9), x86.R(10), x86.R(11), x86.R(12), x86.R(13), planes}

// With fills, one of them has the lane of the round's first element.
var (
	laneOf         = x86.R(13)
	basesWithFills = []x86.Arg{x86.R(8), x86.R(9), x86.R(10), x86.R(11), x86.R(12), planes}
)

// compiler makes one loop.
type compiler struct {
	*Loop
	asm       *x86.Asm
	size      int // bytes of a number
	steps     []step
	classes   []uint8     // of values
	uses      [][]int     // the steps that use each value, one for each use
	names     []string    // of values
	roots     []value     // of a node: itself, or what has the same bits
	bits      []uint8     // of a node that is a word: how many of the lowest may be 1
	fields    map[int]int // the plane of each field that has one; behind the planes, the fill
	sizes     []int       // of a plane, and behind these of a fill of columns: bytes of an element
	columnsAt []int       // of a fill of columns: its place in sizes
	planeOf   []int       // of a Var's node: its plane; -1 of the others
	varOf     []value     // of a plane: the node that is its value on entry; -1 if nothing loads it
	inBlock   []int       // of a uniform: its place in the block; -1 of the others
	split     bool        // a round's vectors have the elements at even places and those at odd ones
	quiet     []bool      // of a node: it is a number, and if that is a NaN it is quiet
	bases     []x86.Arg   // registers for the planes' addresses
	base      []x86.Arg   // of each of sizes
	kept      [2][]value  // uniforms in registers throughout, by class; from the highest register down
	mutate    func(*x86.Ins)
	behind    []behind
	work      work // of a round's first vector
	long      bool // a round is of Lanes elements, with one fill
	held      bool // its lanes are in the registers beyond the compiler's

	layout
}

// Compile makes the loop.
func Compile(l Loop) (*Code, error) { return compile(l, nil) }

// compile is Compile with a function that changes instructions, for tests of the tests.
func compile(l Loop, mutate func(*x86.Ins)) (*Code, error) {
	c := &compiler{Loop: &l, size: l.Func.Width / 8, mutate: mutate}
	if err := c.checkFills(); err != nil {
		return nil, err
	}
	if err := c.index(); err != nil {
		return nil, err
	}
	c.planLong()
	if err := c.schedule(); err != nil {
		return nil, err
	}
	c.bases = bases
	if len(c.Fills) > 0 {
		c.bases = basesWithFills
	}
	free := len(c.bases)
	if len(c.sizes) > free || len(l.Next) > 0 { // the rest are loaded each time, into the register before the last
		free -= 2
	}
	c.base = make([]x86.Arg, len(c.sizes))
	copy(c.base, c.bases[:free])
	c.keep()
	if s := c.Set; s.roots && s.most > 0 && c.work.operations > s.most*c.work.divisions {
		l.Set = AVX512
		return compile(l, mutate)
	}
	code := &Code{Index: -1, Lanes: -1, Rows: -1}
	c.asm = &code.asm
	c.loop()
	code.Frame = c.total
	if len(c.Fills) > 0 {
		code.Lanes = c.lanesAt
	}
	if c.hasElement() {
		code.Index = c.indexAt
	}
	if c.Matrix != nil {
		code.Rows = c.rowsAt
	}
	var err error
	if code.Text, err = code.asm.Bytes(); err != nil {
		return nil, fmt.Errorf("emit: %s: %w", l.Func.Name, err)
	}
	return code, nil
}

// least is the registers of a class that any step can do with: three operands, two for what is between, and the tail's mask.
const least = 6

// keep chooses the uniforms that stay in registers: as many as the rounds leave free, what is used most first.
func (c *compiler) keep() {
	c.copyAt = make([]int, len(c.uses))
	var order [2][]value
	for v := range c.uses {
		if c.inBlock[v] >= 0 && len(c.uses[v]) > 0 {
			class := c.class(value(v))
			order[class] = append(order[class], value(v))
		}
	}
	c.asm = &x86.Asm{}
	defer func() { c.behind = nil }()
	var peak [2]int
	for u := 0; u < c.round(); u += c.lanes() {
		b := c.newBody(false) // which keeps none, and shows what it needs
		c.work.counts = u == 0
		b.run(u)
		c.work.counts = false
		for class := range peak {
			peak[class] = max(peak[class], b.files[class].peak)
		}
	}
	if c.short() {
		b := c.newBody(true)
		b.alone = true
		b.run(0)
		used := b.files[vectors].peak
		if !c.Set.wide {
			used++ // the mask
		}
		peak[vectors] = max(peak[vectors], used)
	}
	if c.pairs() {
		peak[vectors] = max(peak[vectors], c.pair())
	}
	for class := range order {
		slices.SortStableFunc(order[class], func(a, b value) int { return len(c.uses[b]) - len(c.uses[a]) })
		free := c.registers(class) - max(peak[class], least)
		c.kept[class] = order[class][:min(len(order[class]), free)]
	}
}

// loop writes all of the code.
func (c *compiler) loop() {
	lanes, round := c.lanes(), c.round()
	c.enter()
	row := c.beginRow()
	next := c.shortRow()
	c.enterFills()
	again, tail, rest, part, done := c.asm.Label(), c.asm.Label(), c.asm.Label(), c.asm.Label(), c.asm.Label()
	c.asm.Emit(x86.XOR4, at, at)
	c.asm.Emit(x86.MOV, end, count)
	c.asm.Emit(x86.ANDI, end, x86.Imm(-round))
	c.asm.Emit(x86.JE, tail)
	c.asm.Emit(x86.ALIGN, x86.Imm(32))
	c.asm.Emit(x86.LABEL, again)
	for u := 0; u < round; u += lanes {
		c.newBody(false).run(u)
	}
	c.prefetch(round) // not first: that would be before loads which are needed sooner
	if c.long {
		c.asm.Emit(x86.SUBI, at, x86.Imm(-round)) // of 128, only the negative is a byte
	} else {
		c.asm.Emit(x86.ADDI, at, x86.Imm(round))
		c.nextLane()
	}
	c.asm.Emit(x86.CMP, at, end)
	c.asm.Emit(x86.JB, again)
	if c.split && len(c.Fills) > 0 {
		c.inOrder()
	}
	c.asm.Emit(x86.LABEL, tail)
	c.leaveLanes()
	c.asm.Emit(x86.SUB, count, at)
	c.asm.Emit(x86.JE, done)
	c.asm.Emit(x86.LABEL, rest)
	c.nextLane()
	if c.long {
		c.asm.Emit(x86.CMPI, count, x86.Imm(lanes))
		c.asm.Emit(x86.JB, part)
		c.newBody(false).run(0)
		c.prefetchRow()
		c.asm.Emit(x86.ADDI, at, x86.Imm(lanes))
		c.asm.Emit(x86.SUBI, count, x86.Imm(lanes))
		c.asm.Emit(x86.JG, rest)
		c.asm.Emit(x86.JMP, done)
		c.asm.Emit(x86.LABEL, part)
	}
	b := c.newBody(true)
	c.copyTail(false)
	c.tailMask(b.mask, lanes)
	b.run(0)
	c.prefetchRow()
	c.copyTail(true)
	if lanes < round && !c.long {
		c.asm.Emit(x86.ADDI, at, x86.Imm(lanes))
		c.asm.Emit(x86.SUBI, count, x86.Imm(lanes))
		c.asm.Emit(x86.JG, rest)
	}
	c.asm.Emit(x86.LABEL, done)
	c.halve()
	c.asm.Emit(x86.LABEL, next)
	c.endRow(row)
	c.passBehind()
	c.asm.Emit(x86.VZEROUPPER)
	c.asm.Emit(x86.RET)
}

// prefetch is for so many elements, from the round's first one on. What is stored to is asked for as the core's own: a line that another core has read, as
// all do that compute with a parameter, would otherwise come shared, and each store wait until the others have let go of it.
func (c *compiler) prefetch(elements int) {
	for i, v := range c.Planes {
		if c.isColumn(v) {
			continue
		}
		near := x86.PREFETCHT0
		if slices.ContainsFunc(c.Func.Stores, func(s ir.Store) bool { return s.Var == v }) {
			near = x86.PREFETCHW
		}
		for b := 0; b < elements*c.sizes[i]; b += roundBytes {
			if c.Far != 0 {
				c.asm.Emit(x86.PREFETCHT1, c.plane(i, b+c.Far))
			}
			if c.Near != 0 {
				c.asm.Emit(near, c.plane(i, b+c.Near))
			}
		}
	}
	for i, next := range c.Next {
		c.asm.Emit(x86.LOAD, c.spare(), c.address(c.nextAt()+i))
		op := x86.PREFETCHT1
		if next.Stored {
			op = x86.PREFETCHW
		}
		for b := 0; b < elements*next.Size; b += roundBytes {
			c.asm.Emit(op, x86.At(c.spare(), at, next.Size, b))
		}
	}
}

// prefetchRow is prefetch for a vector behind the rounds of a row: the next row is behind this one.
func (c *compiler) prefetchRow() {
	if c.Matrix != nil {
		c.prefetch(c.lanes())
	}
}

// lanes is the elements of a vector, round those of a round.
func (c *compiler) lanes() int { return c.Set.vector / c.size }

func (c *compiler) round() int {
	switch {
	case c.long:
		return Lanes
	case c.split:
		return roundBytes / narrowest
	}
	return roundBytes / c.size
}

// plane is the memory of a plane, bytes after the element that the round begins with.
func (c *compiler) plane(i, bytes int) x86.Arg {
	base := c.base[i]
	if base == (x86.Arg{}) {
		base = c.spare()
		c.asm.Emit(x86.LOAD, base, c.address(i))
	}
	return x86.At(base, at, c.sizes[i], bytes)
}

// spare is a register for an address that has none to itself.
func (c *compiler) spare() x86.Arg { return c.bases[len(c.bases)-2] }

// vector appends an operation on vectors, given as float32's.
func (c *compiler) vector(op x86.Op, note string, args ...x86.Arg) { c.masked(op, 0, note, args...) }

// masked is vector with a mask register for the destination.
func (c *compiler) masked(op x86.Op, mask int, note string, args ...x86.Arg) {
	c.sized(c.ofSize(op), c.Set.vector, mask, note, args...)
}

// sized appends an operation on vectors of so many bytes.
func (c *compiler) sized(op x86.Op, size, mask int, note string, args ...x86.Arg) {
	i := x86.Ins{Op: op, Size: size, Mask: mask, Note: note}
	copy(i.Args[:], args)
	c.add(i)
}

// ofSize is an operation on float32 as one on the graph's numbers.
func (c *compiler) ofSize(op x86.Op) x86.Op {
	if c.size == 8 {
		return op.Double()
	}
	return op
}

// maskIns appends an operation on mask registers.
func (c *compiler) maskIns(op x86.Op, note string, args ...x86.Arg) {
	i := x86.Ins{Op: op, Note: note}
	copy(i.Args[:], args)
	c.add(i)
}

func (c *compiler) add(i x86.Ins) {
	c.work.count(i.Op)
	if c.mutate != nil {
		c.mutate(&i)
	}
	c.asm.Add(i)
}
