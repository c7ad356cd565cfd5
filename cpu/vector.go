package cpu

import (
	"math"
	"slices"
	"unsafe"

	"github.com/fusestep/fusestep/kernels"
	"github.com/fusestep/fusestep/kernels/ir"
	"github.com/fusestep/fusestep/kernels/rule"
)

//go:generate sh -c "cd internal/gen && go run . -out ../../avx2_amd64.s -stubs ../../avx2_amd64.go -pkg cpu"

// updateLoop runs a program over n bytes of each slot that it uses, in order of slot. n is a multiple of roundBytes.
type updateLoop func(slots **byte, uniforms *byte, n int)

// operationLoop runs one operation of package ir over n bytes, a multiple of vectorBytes. Each operand advances by its step:
// vectorBytes, or 0 for one vector that stands for all elements.
type operationLoop func(dst, a, b, c *byte, stepA, stepB, stepC, n int)

const (
	vectorBytes = 32 // of an AVX2 register
	roundBytes  = 64 // a cache line, which is what a loop takes at a time

	// A block of uniforms starts with three masks, each a vector: the sign bit, all bits but it, all bits.
	maskBytes = 3 * vectorBytes
)

// vectors is a program ready to be run by vector code: by a loop of its own, or operation by operation on tiles.
type vectors[F rule.Float] struct {
	graph    *ir.Func
	used     []int // slots, in order
	stores   []int
	uniforms []ir.Value
	fused    updateLoop // or
	plan     *plan
}

// newVectors returns nil where the implementation has no vector code.
func newVectors[F rule.Float](p kernels.Program, stores []int, c choice) (*vectors[F], error) {
	if c.err != nil || c.implementation == scalar {
		return nil, c.err
	}
	f, err := p.Graph()
	if err != nil {
		return nil, err
	}
	v := &vectors[F]{graph: f, stores: stores, uniforms: f.Uniforms(rule.ElemBank)}
	if v.used, err = p.Used(); err != nil {
		return nil, err
	}
	if c.implementation == avx2 {
		v.fused = avx2Updates[f.Fingerprint()]
	}
	if v.fused == nil {
		v.plan = newPlan(f, v.used, v.uniforms)
	}
	return v, nil
}

// scratch is the memory that one thread needs beside the slots.
type scratch[F rule.Float] struct {
	pointers []*byte
	tails    [][]F // per used slot: one round
	tiles    []byte
}

func (v *vectors[F]) newScratch() scratch[F] {
	s := scratch[F]{pointers: make([]*byte, len(v.used))}
	size := int(unsafe.Sizeof(F(0)))
	for range v.used {
		s.tails = append(s.tails, make([]F, roundBytes/size))
	}
	if v.plan != nil {
		s.tiles = aligned(make([]byte, v.plan.buffers*tileBytes+cacheLine), v.plan.buffers*tileBytes, cacheLine)
	}
	return s
}

// blockLen is the length of a group's uniforms.
func (v *vectors[F]) blockLen() int {
	return (maskBytes + len(v.uniforms)*vectorBytes) / int(unsafe.Sizeof(F(0)))
}

// block fills a group's uniforms: the masks, then each uniform node of the graph, a vector each. vars is scratch for the graph's
// fields.
func (v *vectors[F]) block(to, vars []F, eval *ir.Evaluator[F], scalars []F, gradScale F) {
	per := len(to) / (3 + len(v.uniforms))
	for i, f := range v.graph.Vars {
		switch f.Bank {
		case rule.ScalarsBank:
			vars[i] = scalars[f.Index]
		case rule.ScaleBank:
			vars[i] = gradScale
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
		switch {
		case !v.graph.IsBool(u):
			fill(3+i, eval.Number(u))
		case eval.Condition(u):
			fill(3+i, fromBits[F](math.MaxUint64))
		default:
			fill(3+i, 0)
		}
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
	size := int(unsafe.Sizeof(F(0)))
	whole := (hi - lo) &^ (roundBytes/size - 1)
	if whole > 0 {
		for i, k := range v.used {
			s.pointers[i] = (*byte)(unsafe.Pointer(&slots[k][lo]))
		}
		v.loop(s, uniforms, whole*size)
	}
	rest := hi - lo - whole
	if rest == 0 {
		return
	}
	// What is left of the last round goes through a round of its own, so that one loop serves all lengths.
	for i, k := range v.used {
		clear(s.tails[i])
		copy(s.tails[i], slots[k][lo+whole:hi])
		s.pointers[i] = (*byte)(unsafe.Pointer(&s.tails[i][0]))
	}
	v.loop(s, uniforms, roundBytes)
	for i, k := range v.used {
		if slices.Contains(v.stores, k) {
			copy(slots[k][lo+whole:hi], s.tails[i])
		}
	}
}

func (v *vectors[F]) loop(s *scratch[F], uniforms []F, n int) {
	u := (*byte)(unsafe.Pointer(&uniforms[0]))
	if v.fused != nil {
		v.fused(&s.pointers[0], u, n)
		return
	}
	v.plan.run(s.pointers, u, s.tiles, n)
}
