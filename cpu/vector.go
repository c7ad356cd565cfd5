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

// vectors is a program ready to be run by vector code: by machine code made for it, or operation by operation on tiles.
type vectors[F rule.Float] struct {
	set      *instructions
	graph    *ir.Func
	used     []int // slots, in order
	stores   []int
	uniforms []ir.Value
	loop     *loop // or
	plan     *plan
}

// newVectors returns nil where the implementation has no vector code.
func newVectors[F rule.Float](p kernels.Program, stores []int, elements, tensors int, drv *driver) (*vectors[F], error) {
	c := drv.choice
	if c.err != nil || c.set == nil && c.loops == nil {
		return nil, c.err
	}
	f, err := p.Graph()
	if err != nil {
		return nil, err
	}
	v := &vectors[F]{set: c.set, graph: f, stores: stores, uniforms: f.Uniforms(rule.ElemBank)}
	if v.used, err = p.Used(); err != nil {
		return nil, err
	}
	if c.loops == nil {
		v.plan = newPlan(c.set, f, v.used, v.uniforms)
		return v, nil
	}
	v.loop, err = drv.machineCode(f, v.used, drv.prefetching(elements, tensors, len(v.used), p.DType.Size()))
	return v, err
}

// scratch is the memory that one thread needs beside the slots.
type scratch[F rule.Float] struct {
	pointers []*byte
	tails    [][]F   // per used slot: one round
	places   []*byte // of the plan
	frame    []byte  // of the loop
}

func (v *vectors[F]) newScratch() scratch[F] {
	s := scratch[F]{pointers: make([]*byte, len(v.used))}
	if v.loop != nil {
		s.frame = v.loop.newFrame()
		return s
	}
	size := int(unsafe.Sizeof(F(0)))
	for range v.used {
		s.tails = append(s.tails, make([]F, roundBytes/size))
	}
	s.places = v.plan.places()
	return s
}

// blockLen is the length of a group's uniforms: machine code wants a number for each, tiles a vector.
func (v *vectors[F]) blockLen() int {
	if v.loop != nil {
		return masks + len(v.uniforms)
	}
	return (masks + len(v.uniforms)) * v.set.vector / int(unsafe.Sizeof(F(0)))
}

// block fills a group's uniforms: the masks, then each uniform node of the graph. vars is scratch for the graph's
// fields.
func (v *vectors[F]) block(to, vars []F, eval *ir.Evaluator[F], scalars []F, shared *rule.Shared[F]) {
	per := len(to) / (masks + len(v.uniforms))
	for i, f := range v.graph.Vars {
		switch f.Bank {
		case rule.ScalarsBank:
			vars[i] = scalars[f.Index]
		case rule.SharedBank:
			vars[i] = shared.Numbers()[f.Index]
		}
	}
	eval.Run(vars)
	fill := func(i int, x F) {
		for k := range per {
			to[i*per+k] = x
		}
	}
	fill(0, fromBits[F](1<<63))
	fill(1, fromBits[F](1<<63-1))
	fill(2, fromBits[F](math.MaxUint64))
	for i, u := range v.uniforms {
		fill(masks+i, emit.InBlock(eval, v.graph, u))
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

// run updates elements lo to hi of the slots.
func (v *vectors[F]) run(slots [][]F, lo, hi int, uniforms []F, s *scratch[F]) {
	block := (*byte)(unsafe.Pointer(&uniforms[0]))
	if v.loop != nil {
		for i, k := range v.used {
			s.pointers[i] = (*byte)(unsafe.Pointer(&slots[k][lo]))
		}
		v.loop.run(s.pointers, block, s.frame, hi-lo)
		return
	}
	size := int(unsafe.Sizeof(F(0)))
	whole := (hi - lo) &^ (roundBytes/size - 1)
	if whole > 0 {
		for i, k := range v.used {
			s.pointers[i] = (*byte)(unsafe.Pointer(&slots[k][lo]))
		}
		v.plan.run(s.pointers, block, s.places, whole*size)
	}
	rest := hi - lo - whole
	if rest == 0 {
		return
	}
	// What is left of the last round goes through a round of its own, as operations take whole vectors.
	for i, k := range v.used {
		clear(s.tails[i])
		copy(s.tails[i], slots[k][lo+whole:hi])
		s.pointers[i] = (*byte)(unsafe.Pointer(&s.tails[i][0]))
	}
	v.plan.run(s.pointers, block, s.places, roundBytes)
	for i, k := range v.used {
		if slices.Contains(v.stores, k) {
			copy(slots[k][lo+whole:hi], s.tails[i])
		}
	}
}
