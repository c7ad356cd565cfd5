package cpu

import (
	"math"
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

// vectors is a program ready to be run by vector code: by machine code made for it, or operation by operation on tiles.
type vectors[F rule.Float] struct {
	set     *instructions
	program *kernels.Program
	graph   *ir.Func // the program's for the loop, that of numbers for the plan
	uniform []ir.Value
	loop    *loop // or
	plan    *plan
	short   *short // where tensors are short and scattered
}

// short prefetches in a chunk nothing but what will be needed: what lies past a short tensor's end is often another one's, and comes from memory in
// vain. Where the next chunk lies there, the loop alone prefetches the right thing.
type short struct {
	begin *loop      // prefetches as shortOnes
	end   *loop      // takes a chunk's end, which has been prefetched by then, and prefetches nothing
	touch *exec.Code // prefetches the beginning of a chunk, while the one before is worked on
}

// newVectors returns nil where the implementation has no vector code.
func newVectors[F rule.Float](p *kernels.Program, elements, tensors int, scattered bool, proc *processor) (v *vectors[F], err error) {
	c := proc.choice
	if c.err != nil || c.set == nil && c.loops == nil {
		return nil, c.err
	}
	pass := &p.Passes[0]
	v = &vectors[F]{set: c.set, program: p, graph: pass.Graph, uniform: pass.Uniforms}
	if c.loops == nil {
		v.graph, v.uniform = pass.Numbers, pass.Numbers.Uniforms(rule.ElemBank)
		v.plan = newPlan(c.set, v.graph, v.uniform, len(p.Slots))
		return v, nil
	}
	if v.loop, err = proc.machineCode(p, proc.prefetching(v.extent(elements, tensors))); err != nil {
		return nil, err
	}
	return v, v.forShort(elements, tensors, scattered, proc)
}

// extent is the bytes and the buffers of so many elements and tensors.
func (v *vectors[F]) extent(elements, tensors int) (bytes, buffers int) {
	return elements * elementBytes(v.program), tensors * len(v.program.Planes)
}

// forShort makes the code for short tensors that are scattered, if these are and it is not there.
func (v *vectors[F]) forShort(elements, tensors int, scattered bool, proc *processor) (err error) {
	if v.loop == nil || v.short != nil || !scattered {
		return nil
	}
	bytes, buffers := v.extent(elements, tensors)
	if proc.prefetching(bytes, buffers) != (prefetching{}) && bytes > closeBytes && bytes/buffers <= shortBytes {
		v.short, err = proc.newShort(v.program)
	}
	return err
}

func (d *processor) newShort(p *kernels.Program) (s *short, err error) {
	s = &short{}
	if s.begin, err = d.machineCode(p, shortOnes); err != nil {
		return nil, err
	}
	if s.end, err = d.machineCode(p, prefetching{}); err != nil {
		return nil, err
	}
	s.touch, err = newCode(emit.Touch(len(p.Planes), shortOnes.near, shortOnes.far))
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
	pointers []*byte // of planes, with the loop; of slots, with the plan
	window   *window[F]
	tails    [][]F   // per slot: one round
	places   []*byte // of the plan
	frame    []byte  // of the loop
}

func (v *vectors[F]) newScratch() scratch[F] {
	s := scratch[F]{pointers: make([]*byte, len(v.program.Planes))}
	if v.loop != nil {
		s.frame = v.loop.newFrame()
		if v.short != nil {
			s.frame = newFrame(max(v.loop.frame, v.short.begin.frame, v.short.end.frame))
		}
		return s
	}
	s.pointers, s.window = s.pointers[:len(v.program.Slots)], newWindow[F](v.program)
	for range v.program.Slots {
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
		v.fill(to, i, fromBits[F](bits))
	}
	for i, u := range v.uniform {
		v.fill(to, masks+i, emit.InBlock(eval, v.graph, u))
	}
}

// fill is a place of a block, which has as many numbers as a vector, or one.
func (v *vectors[F]) fill(block []F, place int, x F) {
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

// run updates the elements of a chunk, whose group has the scalars.
func (v *vectors[F]) run(t *tensor, c *chunk, uniforms, scalars []F, s *scratch[F]) {
	block := (*byte)(unsafe.Pointer(&uniforms[0]))
	switch lo, hi := c.lo, c.hi; {
	case v.plan != nil:
		s.window.each(t, lo, hi, scalars, func() { v.tiles(s, block) })
	case v.short == nil || c.followed:
		v.point(s, t, lo)
		v.loop.run(s.pointers, block, s.frame, t.index+uint64(lo), hi-lo)
	default:
		if n := (hi - lo - v.approached()) &^ (roundBytes - 1); n > 0 {
			v.point(s, t, lo)
			v.short.begin.run(s.pointers, block, s.frame, t.index+uint64(lo), n)
			lo += n
		}
		v.point(s, t, lo)
		v.short.end.run(s.pointers, block, s.frame, t.index+uint64(lo), hi-lo)
	}
}

// approached is the elements at a chunk's beginning that are prefetched before.
func (v *vectors[F]) approached() int { return shortOnes.far / v.program.Compute.Size() }

// point makes the scratch's pointers those of the element.
func (v *vectors[F]) point(s *scratch[F], t *tensor, element int) {
	for k, plane := range v.program.Planes {
		s.pointers[k] = &t.planes[k][element*plane.DType.Size()]
	}
}

// approach prefetches the beginning of a chunk.
func (v *vectors[F]) approach(t *tensor, c *chunk, s *scratch[F]) {
	if c.hi-c.lo >= v.approached() {
		v.point(s, t, c.lo)
		v.short.touch.Run(unsafe.SliceData(s.pointers), nil, nil, 0)
	}
}

// tiles runs the plan over the window.
func (v *vectors[F]) tiles(s *scratch[F], block *byte) {
	size := int(unsafe.Sizeof(F(0)))
	n := len(s.window.slots[0])
	whole := n &^ (roundBytes/size - 1)
	if whole > 0 {
		for i, x := range s.window.slots {
			s.pointers[i] = (*byte)(unsafe.Pointer(&x[0]))
		}
		v.plan.run(s.pointers, block, s.places, whole*size)
	}
	if whole == n {
		return
	}
	// What is left of the last round goes through a round of its own, as operations take whole vectors.
	for i, x := range s.window.slots {
		clear(s.tails[i])
		copy(s.tails[i], x[whole:])
		s.pointers[i] = (*byte)(unsafe.Pointer(&s.tails[i][0]))
	}
	v.plan.run(s.pointers, block, s.places, roundBytes)
	for _, st := range v.program.Passes[0].Numbers.Stores {
		copy(s.window.slots[st.Var][whole:], s.tails[st.Var])
	}
}
