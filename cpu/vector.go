package cpu

import (
	"math"
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:generate go run -C asmgen . ..

const roundBytes = 64 // a cache line, which is what a loop takes at a time

// masks is the vectors, or with machine code the numbers, before the uniforms in a block: see emit.Head.
const masks = emit.Head

// vectors is a pass ready to be run by vector code: by machine code made for it, or operation by operation on tiles.
type vectors[F rule.Float] struct {
	set      *instructions
	program  *kernels.Program
	pass     *kernels.Pass
	graph    *ir.Func // the pass's for the loop, that of numbers for the plan
	uniform  []ir.Value
	passLoop // or
	plan     *plan
	short    *loop       // where tensors are short and scattered: it fetches what is said beside its own planes
	inCache  *passLoop   // for small tensors, where that is another one. nil: the same
	narrow   *narrowPass // for narrow matrices, where there are some
}

// passLoop is a pass's loop, and in the order of its addresses what it is given.
type passLoop struct {
	loop      *loop
	touches   []int // planes
	kept      []int // of small tensors: which of what passes keep
	rowPlanes []int // in a pass over the elements of matrices: planes of which the loop takes a row's number
	fetched   []int // planes of the next small tensor, which it fetches
}

// addresses are those of a pass's planes, and of what is kept and fetched.
func (l *passLoop) addresses() int {
	return len(l.touches) + len(l.kept) + len(l.rowPlanes) + len(l.fetched)
}

// newVectors returns nil where the implementation has no vector code.
func newVectors[F rule.Float](u *update[F], q *kernels.Pass) (v *vectors[F], err error) {
	c, p := u.proc.choice, u.program
	if c.err != nil || c.set == nil && c.loops == nil || c.loops == nil && p.Matrix() { // tiles have no rows: the rule itself runs
		return nil, c.err
	}
	v = &vectors[F]{set: c.set, program: p, pass: q, passLoop: passLoop{touches: touches(q)}, graph: q.Graph, uniform: q.Uniforms}
	if c.loops == nil {
		v.graph, v.uniform = q.Numbers, q.Numbers.Uniforms(rule.ElemBank)
		v.plan = newPlan(c.set, v.graph, v.uniform, len(p.Slots), v.terms())
		return v, nil
	}
	v.rowPlanes = rowPlanes(q)
	if v.loop, err = u.proc.machineCode(q, u.proc.prefetching(u.extent())); err != nil {
		return nil, err
	}
	return v, nil
}

// perTensor says whether the graph reads numbers that each tensor has to itself.
func (v *vectors[F]) perTensor() bool {
	return slices.ContainsFunc(v.graph.Loads(), func(i int) bool { return v.graph.Vars[i].Bank == rule.TensorBank })
}

// terms are the fields of numbers that get the terms of the fills.
func (v *vectors[F]) terms() (fields []int) {
	for _, f := range v.pass.Fills {
		of := v.pass.Graph.Vars[f.Var]
		fields = append(fields, slices.IndexFunc(v.graph.Vars, func(v ir.Field) bool { return v.Bank == of.Bank && v.Index == of.Index }))
	}
	return fields
}

// forShort makes the code for short tensors that are scattered, if it is not there.
func (v *vectors[F]) forShort(u *update[F]) (err error) {
	if v.loop == nil || v.short != nil || u.staged {
		return nil
	}
	if bytes, buffers := u.extent(); u.fetches() && bytes/buffers <= shortBytes {
		var next []emit.Next
		for _, k := range v.touches {
			next = append(next, emit.Next{Size: u.program.Planes[k].DType.Size(), Stored: u.program.Planes[k].Store})
		}
		v.short, err = u.proc.machineCode(v.pass, prefetching{}, next...)
	}
	return err
}

// fetches says whether the loops prefetch what comes from memory.
func (u *update[F]) fetches() bool {
	bytes, buffers := u.extent()
	return u.proc.prefetching(bytes, buffers) != (prefetching{}) && bytes > closeBytes
}

// forSmall makes the code for small tensors: passes keep what later ones compute again, and each fetches planes of the next tensor from memory, as many
// as it has time for.
func (u *update[F]) forSmall() (err error) {
	if u.vectors == nil || u.vectors[0].loop == nil || u.smallTiles == 0 {
		return nil
	}
	kept, n := keep(u.program)
	u.kept = n
	ofElements := func(d rule.Domain) bool { return d == rule.OfElements }
	var passes []int
	for i, v := range u.vectors {
		if ofElements(v.pass.Domain) {
			passes = append(passes, i)
		}
	}
	planes := slices.DeleteFunc(slices.Clone(u.vectors[passes[0]].touches), func(k int) bool { return !ofElements(u.program.Planes[k].Domain) })
	fetches, all, before := u.fetches(), 0, 0
	for _, pass := range passes {
		all += kept[pass].operations()
	}
	fetched := func() int { return (2*len(planes)*before + all) / (2 * all) } // planes, to the nearest
	for _, pass := range passes {
		q, l, ahead := &kept[pass], &passLoop{}, u.proc.prefetching(u.extent())
		var next []emit.Next // none is Stored: the first-level cache would have what is for later passes
		if fetches {
			lo := fetched()
			before += q.operations()
			l.fetched, ahead = planes[lo:fetched()], prefetching{}
			for _, k := range l.fetched {
				next = append(next, emit.Next{Size: u.program.Planes[k].DType.Size()})
			}
		} else if q.places == nil {
			continue
		}
		touched := touches(&q.Pass)
		l.touches, l.kept, l.rowPlanes = touched[:len(touched)-len(q.places)], q.places, rowPlanes(&q.Pass)
		if l.loop, err = u.proc.machineCode(&q.Pass, ahead, next...); err != nil {
			return err
		}
		u.vectors[pass].inCache = l
	}
	return nil
}

// elementBytes is the bytes of an element in all planes that elements have.
func elementBytes(p *kernels.Program) (n int) {
	for _, plane := range p.Planes {
		if plane.Domain == rule.OfElements {
			n += plane.DType.Size()
		}
	}
	return n
}

// scratch is the memory that one thread needs beside the slots.
type scratch[F rule.Float] struct {
	pointers []*byte // of planes, with the loop; of slots and terms, with the plan
	tails    [][]F   // likewise: one round
	places   []*byte // of the plan
	frame    []byte  // of the loop
	kept     [][]F   // of a small tensor, all passes': what they keep
}

// pointKept makes the pointers behind the first n those of the element in what is kept.
func (s *scratch[F]) pointKept(places []int, n, element int) {
	for i, k := range places {
		s.pointers[n+i] = (*byte)(unsafe.Pointer(&s.kept[k][element]))
	}
}

func (v *vectors[F]) newScratch() scratch[F] {
	s := scratch[F]{}
	if v.loop != nil {
		frame, n := v.loop.frame, len(v.touches)+len(v.program.Planes)+len(v.pass.Fills) // of the next tensor, too
		if v.short != nil {
			frame = max(frame, v.short.frame)
		}
		if v.inCache != nil {
			frame, n = max(frame, v.inCache.loop.frame), max(n, v.inCache.addresses()+len(v.pass.Fills))
		}
		if v.narrow != nil && v.narrow.loop != nil {
			frame = max(frame, v.narrow.loop.frame)
		}
		s.pointers = make([]*byte, n)
		s.frame = newFrame(frame)
		return s
	}
	n := len(v.program.Slots) + len(v.pass.Fills)
	s.pointers = make([]*byte, n)
	for range n {
		s.tails = append(s.tails, make([]F, roundBytes/int(unsafe.Sizeof(F(0)))))
	}
	s.places = v.plan.places()
	return s
}

// blockLen is the length of a group's uniforms: machine code wants a number for each, tiles a vector.
func (v *vectors[F]) blockLen() int {
	if v.loop != nil {
		return masks + len(v.uniform)
	}
	return (masks + len(v.uniform)) * v.set.vector / int(unsafe.Sizeof(F(0)))
}

// block fills a group's uniforms: the masks, then each uniform node of the graph. vars is scratch for the graph's
// fields.
func (v *vectors[F]) block(to, vars []F, eval *ir.Evaluator[F], scalars []F) {
	for i, f := range v.graph.Vars {
		switch f.Bank {
		case rule.ScalarsBank:
			vars[i] = scalars[f.Index]
		case rule.SharedBank:
			vars[i] = scalars[len(v.program.Rule.Scalars)+f.Index]
		}
	}
	eval.Run(vars)
	for i, bits := range emit.HeadBits {
		v.put(to, i, fromBits[F](bits))
	}
	for i, u := range v.uniform {
		if _, ok := rowOf(v.pass, u); ok {
			continue
		}
		v.put(to, masks+i, emit.InBlock(eval, v.graph, u))
	}
}

// put fills a place of a block, which has as many numbers as a vector, or one.
func (v *vectors[F]) put(block []F, place int, x F) {
	per := 1
	if v.loop == nil {
		per = len(block) / (masks + len(v.uniform))
	}
	for k := range per {
		block[place*per+k] = x
	}
}

// fromBits is the number whose bits are the highest of x.
func fromBits[F rule.Float](x uint64) F {
	var f F
	if p, ok := any(&f).(*float32); ok {
		*p = math.Float32frombits(uint32(x >> 32))
	} else {
		*any(&f).(*float64) = math.Float64frombits(x)
	}
	return f
}

// run updates the elements of a chunk with machine code, and leaves what it fills in to.
func (v *vectors[F]) run(t *tensor, c *chunk, uniforms []F, s *scratch[F], to results) {
	v.tiles(&v.passLoop, t, nil, c.lo, c.hi, (*byte)(unsafe.Pointer(&uniforms[0])), s, to)
}

// small updates a small tensor, which is in a cache mostly, and fetches of the next one.
func (v *vectors[F]) small(t, next *tensor, c *chunk, uniforms []F, s *scratch[F], to results) {
	v.tiles(v.codeFor(next), t, next, 0, c.hi, (*byte)(unsafe.Pointer(&uniforms[0])), s, to)
}

// codeFor is the loop for a small tensor, behind which next comes, or for a large one, where that is nil.
func (v *vectors[F]) codeFor(next *tensor) *passLoop {
	if next != nil && v.inCache != nil {
		return v.inCache
	}
	return &v.passLoop
}

// pointNext makes the pointers behind the first n those of what is fetched of the next tensor, from an element on.
func (v *vectors[F]) pointNext(code *passLoop, t, next *tensor, s *scratch[F], n, element int) {
	for i, k := range code.fetched {
		x := next.planes[k]
		if len(x) == 0 {
			x = t.planes[k]
		}
		at := 0
		if element > 0 {
			at = min(element*v.program.Planes[k].DType.Size(), len(x)-1)
		}
		s.pointers[n+i] = &x[at]
	}
}

// tiles runs a loop over elements lo to hi: all at once, or where it fills something, a tile at a time. Next is the tensor that it fetches, if it does.
func (v *vectors[F]) tiles(code *passLoop, t, next *tensor, lo, hi int, block *byte, s *scratch[F], to results) {
	size, fills := hi-lo, v.pass.Fills
	if len(fills) > 0 {
		size = kernels.NormTile
	}
	for at := lo; at < hi; at += size {
		v.pointTo(code.touches, s.pointers, t, at)
		s.pointKept(code.kept, len(code.touches), at)
		v.pointNext(code, t, next, s, len(code.touches)+len(code.kept), at)
		code.loop.run(s.pointers, block, s.frame, t.index+uint64(at), min(size, hi-at))
		for k := range fills {
			*to.tile(k, (at-lo)/kernels.NormTile) = *code.loop.fill(s.frame, k)
		}
	}
}

// point makes pointers those of the element.
func (v *vectors[F]) point(pointers []*byte, t *tensor, element int) {
	v.pointTo(v.touches, pointers, t, element)
}

// pointTo makes pointers those of the element in some planes.
func (v *vectors[F]) pointTo(planes []int, pointers []*byte, t *tensor, element int) {
	pointers = pointers[:len(planes)]
	if element == 0 {
		for i, k := range planes {
			pointers[i] = &t.planes[k][0]
		}
		return
	}
	for i, k := range planes {
		pointers[i] = &t.planes[k][element*v.program.Planes[k].DType.Size()]
	}
}

// interpret runs the plan over the window, whose terms begin at one of the thread's.
func (v *vectors[F]) interpret(h *hand[F], block *byte, term int) {
	s, w := &h.scratch, h.window
	size := int(unsafe.Sizeof(F(0)))
	n := w.n
	whole := n &^ (roundBytes/size - 1)
	point := func(i int, x []F) { s.pointers[i] = (*byte)(unsafe.Pointer(unsafe.SliceData(x))) }
	if whole > 0 {
		for i, x := range w.slots {
			point(i, x)
		}
		for k, x := range h.terms {
			point(len(w.slots)+k, x[term:])
		}
		v.plan.run(s.pointers, block, s.places, whole*size)
	}
	if whole == n {
		return
	}
	// What is left of the last round goes through a round of its own, as operations take whole vectors.
	for i, x := range s.tails {
		clear(x)
		if i < len(w.slots) {
			copy(x, w.slots[i][whole:])
		}
		point(i, x)
	}
	v.plan.run(s.pointers, block, s.places, roundBytes)
	for _, st := range v.graph.Stores {
		if st.Var < len(w.slots) {
			copy(w.slots[st.Var][whole:], s.tails[st.Var])
		}
	}
	for k, x := range h.terms {
		copy(x[term+whole:term+n], s.tails[len(w.slots)+k])
	}
}
