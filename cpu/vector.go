package cpu

import (
	"math"
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/cpu/internal/emit"
	"github.com/fusestep/fusestep/cpu/internal/exec"
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
	set     *instructions
	program *kernels.Program
	pass    *kernels.Pass
	touches []int    // planes, in the order of the loop's addresses
	graph   *ir.Func // the pass's for the loop, that of numbers for the plan
	uniform []ir.Value
	loop    *loop // or
	plan    *plan
	short   *short // where tensors are short and scattered
	inCache *loop  // for small tensors, where an update prefetches from memory: these are in a cache by then. nil: loop
	fetched []int  // planes of the next small tensor that inCache fetches
}

// short prefetches in a chunk nothing but what will be needed: what lies past a short tensor's end is often another one's, and comes from memory in
// vain. Where the next chunk lies there, the loop alone prefetches the right thing.
type short struct {
	begin *loop      // prefetches as shortOnes
	end   *loop      // takes a chunk's end, which has been prefetched by then, and prefetches nothing
	touch *exec.Code // prefetches the beginning of a chunk, while the one before is worked on
}

// newVectors returns nil where the implementation has no vector code.
func newVectors[F rule.Float](u *update[F], q *kernels.Pass) (v *vectors[F], err error) {
	c, p := u.proc.choice, u.program
	if c.err != nil || c.set == nil && c.loops == nil {
		return nil, c.err
	}
	v = &vectors[F]{set: c.set, program: p, pass: q, touches: touches(q), graph: q.Graph, uniform: q.Uniforms}
	if c.loops == nil {
		v.graph, v.uniform = q.Numbers, q.Numbers.Uniforms(rule.ElemBank)
		v.plan = newPlan(c.set, v.graph, v.uniform, len(p.Slots), v.terms())
		return v, nil
	}
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

// forShort makes the code for short tensors that are scattered, if these are and it is not there.
func (v *vectors[F]) forShort(u *update[F], scattered bool) (err error) {
	if v.loop == nil || v.short != nil || !scattered || u.staged {
		return nil
	}
	if bytes, buffers := u.extent(); u.fetches() && bytes/buffers <= shortBytes {
		v.short, err = u.proc.newShort(v.pass)
	}
	return err
}

// fetches says whether the loops prefetch what comes from memory.
func (u *update[F]) fetches() bool {
	bytes, buffers := u.extent()
	return u.proc.prefetching(bytes, buffers) != (prefetching{}) && bytes > closeBytes
}

// forSmall makes the code for small tensors: each pass fetches some planes of the next one from memory.
func (u *update[F]) forSmall() (err error) {
	if u.vectors == nil || u.vectors[0].loop == nil || u.smallTiles == 0 || !u.fetches() {
		return nil
	}
	planes := u.vectors[0].touches
	for i, v := range u.vectors {
		v.fetched = planes[i*len(planes)/len(u.vectors) : (i+1)*len(planes)/len(u.vectors)]
		var next []int
		for _, k := range v.fetched {
			next = append(next, u.program.Planes[k].DType.Size())
		}
		if v.inCache, err = u.proc.machineCode(v.pass, prefetching{}, next...); err != nil {
			return err
		}
	}
	return nil
}

func (d *processor) newShort(q *kernels.Pass) (s *short, err error) {
	s = &short{}
	if s.begin, err = d.machineCode(q, shortOnes); err != nil {
		return nil, err
	}
	if s.end, err = d.machineCode(q, prefetching{}); err != nil {
		return nil, err
	}
	s.touch, err = newCode(emit.Touch(len(touches(q)), shortOnes.near, shortOnes.far))
	return s, err
}

// elementBytes is the bytes of an element in all planes.
func elementBytes(p *kernels.Program) (n int) {
	for _, plane := range p.Planes {
		n += plane.DType.Size()
	}
	return n
}

// scratch is the memory that one thread needs beside the slots.
type scratch[F rule.Float] struct {
	pointers []*byte // of planes, with the loop; of slots and terms, with the plan
	tails    [][]F   // likewise: one round
	places   []*byte // of the plan
	frame    []byte  // of the loop
}

func (v *vectors[F]) newScratch() scratch[F] {
	s := scratch[F]{pointers: make([]*byte, len(v.touches)+len(v.program.Planes))} // of the next tensor, too
	if v.loop != nil {
		frame := v.loop.frame
		if v.short != nil {
			frame = max(frame, v.short.begin.frame, v.short.end.frame)
		}
		if v.inCache != nil {
			frame = max(frame, v.inCache.frame)
		}
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
		v.put(to, masks+i, emit.InBlock(eval, v.graph, u))
	}
}

// put fills a place of a block, which has as many numbers as a vector, or one.
func (v *vectors[F]) put(block []F, place int, x F) {
	per := len(block) / (masks + len(v.uniform))
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
	block := (*byte)(unsafe.Pointer(&uniforms[0]))
	if v.short == nil || c.followed {
		v.tiles(v.loop, t, t, c.lo, c.hi, block, s, to)
		return
	}
	lo := c.lo
	if n := (c.hi - lo - v.approached()) &^ (roundBytes - 1); n > 0 {
		v.tiles(v.short.begin, t, t, lo, lo+n, block, s, to)
		lo += n
	}
	v.tiles(v.short.end, t, t, lo, c.hi, block, s, to)
}

// small updates a small tensor, which is in a cache mostly, and fetches of the next one.
func (v *vectors[F]) small(t, next *tensor, c *chunk, uniforms []F, s *scratch[F], to results) {
	code := v.inCache
	if code == nil {
		code = v.loop
	}
	v.tiles(code, t, next, 0, c.hi, (*byte)(unsafe.Pointer(&uniforms[0])), s, to)
}

// tiles runs a loop over elements lo to hi: all at once, or where it fills something, a tile at a time. Next is the tensor that it fetches, if it does.
func (v *vectors[F]) tiles(code *loop, t, next *tensor, lo, hi int, block *byte, s *scratch[F], to results) {
	size := hi - lo
	if len(v.pass.Fills) > 0 {
		size = kernels.NormTile
	}
	for at := lo; at < hi; at += size {
		v.point(s, t, at)
		for i, k := range v.fetched {
			x := next.planes[k]
			if len(x) == 0 {
				x = t.planes[k]
			}
			s.pointers[len(v.touches)+i] = &x[min(at*v.program.Planes[k].DType.Size(), len(x)-1)]
		}
		code.run(s.pointers, block, s.frame, t.index+uint64(at), min(size, hi-at))
		for k := range v.pass.Fills {
			*to.tile(k, (at-lo)/size) = *code.fill(s.frame, k)
		}
	}
}

// approached is the elements at a chunk's beginning that are prefetched before.
func (v *vectors[F]) approached() int { return shortOnes.far / v.program.Compute.Size() }

// point makes the scratch's pointers those of the element.
func (v *vectors[F]) point(s *scratch[F], t *tensor, element int) {
	for i, k := range v.touches {
		s.pointers[i] = &t.planes[k][element*v.program.Planes[k].DType.Size()]
	}
}

// approach prefetches the beginning of a chunk.
func (v *vectors[F]) approach(t *tensor, c *chunk, s *scratch[F]) {
	if c.hi-c.lo >= v.approached() {
		v.point(s, t, c.lo)
		v.short.touch.Run(unsafe.SliceData(s.pointers), nil, nil, 0)
	}
}

// interpret runs the plan over the window, whose terms begin at one of the thread's.
func (v *vectors[F]) interpret(h *hand[F], block *byte, term int) {
	s, w := &h.scratch, h.window
	size := int(unsafe.Sizeof(F(0)))
	n := len(w.slots[0])
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
