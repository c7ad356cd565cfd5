package rule

import (
	"slices"
	"sync"
)

// Pass is one run of an element function over elements: what an executor that has no better code calls, and the
// reference for those that have.
type Pass[F Float] struct {
	Stage   int
	Slots   [][]F // per slot of the rule, and of EMA; nil where Loads and Stores do not name it. All others have one length.
	Loads   []int // slots to read, from the graph
	Stores  []int // slots to write
	Scalars []F   // per scalar of the rule
	Tensor  []F   // per tensor field: what the element function reads
	Terms   [][]F // per tensor field, where not nil: the terms that the elements fill it with. It has the length of the slots, and may itself be nil.
	Options uint64
	Shared  *Shared[F] // what the program does around its rule; nil runs the rule alone
	Around  Around     // what of it is done in this stage
}

// Apply runs the compiled element function over all elements of the pass.
func Apply[F Float](r *Rule, p *Pass[F]) {
	switch p := any(p).(type) {
	case *Pass[float32]:
		r.elements(p.Stage).apply32(r, p)
	case *Pass[float64]:
		r.elements(p.Stage).apply64(r, p)
	}
}

// applier makes the loop over elements for an element function: fn, or alone, which has no tensor struct. A closure in place of the one would cost a call.
func applier[F Float, E, S, T, O any](alone func(*E, *S, O), fn func(*E, *S, *T, O)) func(*Rule, *Pass[F]) {
	type frame struct {
		e struct {
			own E
			ema F
		}
		s S
		t T
	}
	frames := sync.Pool{New: func() any { return new(frame) }} // a func value's arguments escape: reuse them
	return func(r *Rule, p *Pass[F]) {
		f := frames.Get().(*frame)
		defer frames.Put(f)
		var o O
		setOptions(&o, p.Options)
		e, t := numbers[F](&f.e), numbers[F](&f.t)
		copy(numbers[F](&f.s), p.Scalars)
		copy(t, p.Tensor)
		n := 0
		for _, k := range p.Stores {
			n = len(p.Slots[k])
		}
		var filled []int
		for k, terms := range p.Terms {
			if terms != nil {
				n, filled = len(terms), append(filled, k)
			}
		}
		param, grad := r.Slot(Param), r.Slot(Grad)
		scaled := p.Shared != nil && slices.Contains(p.Loads, grad)
		decayed := p.Shared != nil && p.Stage == r.Stages-1
		for i := range n {
			for _, k := range p.Loads {
				e[k] = p.Slots[k][i]
			}
			if scaled {
				e[grad] = p.Shared.gradient(p.Around, e[grad], e[param])
			}
			if decayed {
				e[param] = F(e[param] * p.Shared.Decay)
			}
			if alone != nil {
				alone(&f.e.own, &f.s, o)
			} else {
				fn(&f.e.own, &f.s, &f.t, o)
			}
			if decayed {
				e[param] = Flush(e[param])
				if p.Around&EMA != 0 {
					f.e.ema = p.Shared.average(f.e.ema, e[param])
				}
			}
			if p.Around&ZeroGrad != 0 {
				e[grad] = 0
			}
			for _, k := range p.Stores {
				p.Slots[k][i] = e[k]
			}
			for _, k := range filled {
				p.Terms[k][i] = t[k]
			}
		}
	}
}

// tensorRunner makes RunTensor's function.
func tensorRunner[T, S, O any](fn func(*T, *S, O)) func(tensor, scalars []float64, options uint64) {
	type frame struct {
		t T
		s S
	}
	frames := sync.Pool{New: func() any { return new(frame) }}
	return func(tensor, scalars []float64, options uint64) {
		f := frames.Get().(*frame)
		defer frames.Put(f)
		var o O
		setOptions(&o, options)
		copy(numbers[float64](&f.t), tensor)
		copy(numbers[float64](&f.s), scalars)
		fn(&f.t, &f.s, o)
		copy(tensor, numbers[float64](&f.t))
	}
}

// RunTensor runs the compiled tensor function before the element function of a stage, which is not the first: it computes numbers of a
// tensor, one a tensor field, of those and of the scalars, in place.
func (r *Rule) RunTensor(stage int, tensor, scalars []float64, options uint64) {
	r.tensors(stage).run(tensor, scalars, options)
}

// prologueRunner makes RunPrologue's function.
func prologueRunner[H, T, S, O any](fn func(*H, *T, *S, O)) func(hyper, counters, scalars []float64, options uint64) {
	type frame struct {
		h H
		t T
		s S
	}
	frames := sync.Pool{New: func() any { return new(frame) }}
	return func(hyper, counters, scalars []float64, options uint64) {
		f := frames.Get().(*frame)
		defer frames.Put(f)
		var o O
		setOptions(&o, options)
		copy(numbers[float64](&f.h), hyper)
		copy(numbers[float64](&f.t), counters)
		copy(numbers[float64](&f.s), scalars)
		fn(&f.h, &f.t, &f.s, o)
		copy(counters, numbers[float64](&f.t))
		copy(scalars, numbers[float64](&f.s))
	}
}

// RunPrologue runs the compiled prologue: it updates counters and computes scalars.
func (r *Rule) RunPrologue(hyper, counters, scalars []float64, options uint64) {
	r.runPrologue(hyper, counters, scalars, options)
}
