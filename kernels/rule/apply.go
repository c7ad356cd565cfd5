package rule

import "sync"

// Pass is one run of an element function over elements: what an executor that has no better code calls, and the
// reference for those that have.
type Pass[F Float] struct {
	Slots   [][]F // per slot of the rule, and of EMA; nil where Loads and Stores do not name it. All others have one length.
	Loads   []int // slots to read, from the graph
	Stores  []int // slots to write
	Scalars []F   // per scalar of the rule
	Options uint64
	Shared  *Shared[F] // what the program does around its rule; nil runs the rule alone
	Around  Around
}

// Apply runs the compiled element function over all elements of the pass.
func Apply[F Float](r *Rule, p *Pass[F]) {
	switch p := any(p).(type) {
	case *Pass[float32]:
		r.apply32(r, p)
	case *Pass[float64]:
		r.apply64(r, p)
	}
}

// applier makes the loop over elements for an element function.
func applier[F Float, E, S, O any](fn func(*E, *S, O)) func(*Rule, *Pass[F]) {
	type frame struct {
		e struct {
			own E
			ema F
		}
		s S
	}
	frames := sync.Pool{New: func() any { return new(frame) }} // a func value's arguments escape: reuse them
	return func(r *Rule, p *Pass[F]) {
		f := frames.Get().(*frame)
		defer frames.Put(f)
		var o O
		setOptions(&o, p.Options)
		e := numbers[F](&f.e)
		copy(numbers[F](&f.s), p.Scalars)
		n := 0
		for _, k := range p.Stores {
			n = len(p.Slots[k])
		}
		param, grad := r.Slot(Param), r.Slot(Grad)
		for i := range n {
			for _, k := range p.Loads {
				e[k] = p.Slots[k][i]
			}
			if p.Shared != nil {
				e[grad], e[param] = p.Shared.before(p.Around, e[grad], e[param])
			}
			fn(&f.e.own, &f.s, o)
			if p.Shared != nil {
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
		}
	}
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
