package rule

import (
	"slices"
	"sync"
)

// Pass is one run of an element function over elements, or of a row or column function over rows or columns: what an executor that has no better
// code calls, and the reference for those that have.
type Pass[F Float] struct {
	Domain  Domain // of the function
	Stage   int    // likewise
	Slots   [][]F  // per slot of the rule, and of EMA, or per row or column field; nil where Loads and Stores do not name it. All others have one length.
	Loads   []int  // slots to read, from the graph
	Stores  []int  // slots to write
	Scalars []F    // per scalar of the rule
	Tensor  []F    // per tensor field: what the function reads
	Terms   [][]F  // per tensor field, where not nil: the terms that it is filled with. It has the length of the slots, and may itself be nil.
	Options uint64
	Shared  *Shared[F] // what the program does around its rule; nil runs the rule alone
	Around  Around     // what of it is done in this stage

	// Of an element function of a matrix. The elements are of one row, and each is in a column of its own.
	Row                   []F   // per row field: what the function reads
	Columns               [][]F // per column field, where not nil: what the columns have
	RowTerms, ColumnTerms [][]F // per row field, and per column field, as Terms

	factor F // of AdaptiveClip: the unit's
}

// Apply runs the compiled function over all elements, rows or columns of the pass.
func Apply[F Float](r *Rule, p *Pass[F]) {
	f := r.function(p.Domain, p.Stage)
	switch p := any(p).(type) {
	case *Pass[float32]:
		f.apply32(r, p)
	case *Pass[float64]:
		f.apply64(r, p)
	}
}

// len is how many elements the pass has.
func (p *Pass[F]) len() (n int) {
	for _, k := range p.Stores {
		n = len(p.Slots[k])
	}
	for _, all := range [][][]F{p.Terms, p.RowTerms, p.ColumnTerms} {
		for _, terms := range all {
			n = max(n, len(terms))
		}
	}
	return n
}

// calls is an element function: the one of them that is not nil. A closure in place of the others would cost a call.
type calls[F Float, E, S, T, R, C, O any] struct {
	alone   func(*E, *S, O) // without a tensor struct
	element func(*E, *S, *T, O)
	matrix  func(*E, *S, *T, *R, *C, O)
}

// applier makes the loop over elements for an element function.
func applier[F Float, E, S, T, R, C, O any](fn calls[F, E, S, T, R, C, O]) func(*Rule, *Pass[F]) {
	type frame struct {
		e struct {
			own E
			ema F
		}
		s   S
		own struct {
			t T
			r R
			c C
		}
		lines lines[F]
	}
	frames := sync.Pool{New: func() any { return new(frame) }} // a func value's arguments escape: reuse them
	return func(r *Rule, p *Pass[F]) {
		f := frames.Get().(*frame)
		defer frames.Put(f)
		var o O
		setOptions(&o, p.Options)
		e, own := numbers[F](&f.e), numbers[F](&f.own)
		tensor, row := numbers[F](&f.own.t), numbers[F](&f.own.r)
		copy(numbers[F](&f.s), p.Scalars)
		copy(tensor, p.Tensor)
		copy(row, p.Row)
		n := p.len()
		f.lines.of(p, len(tensor), len(tensor)+len(row), len(own))
		defer f.lines.drop()
		filled, columns := f.lines.filled, f.lines.columns
		param, grad := r.Slot(Param), r.Slot(Grad)
		scaled := p.Shared != nil && slices.Contains(p.Loads, grad)
		decayed := p.Shared != nil && p.Stage == r.Stages-1
		for i := range n {
			for _, k := range p.Loads {
				e[k] = p.Slots[k][i]
			}
			for _, c := range columns {
				own[c.field] = c.numbers[i]
			}
			if scaled {
				e[grad] = p.Shared.gradient(p.Around, e[grad], e[param], p.factor)
			}
			if decayed {
				e[param] = F(e[param] * p.Shared.Decay)
			}
			switch {
			case fn.alone != nil:
				fn.alone(&f.e.own, &f.s, o)
			case fn.element != nil:
				fn.element(&f.e.own, &f.s, &f.own.t, o)
			default:
				fn.matrix(&f.e.own, &f.s, &f.own.t, &f.own.r, &f.own.c, o)
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
			for _, t := range filled {
				t.numbers[i] = own[t.field]
			}
		}
	}
}

// line is a field of the tensor, the row and the column, which stand one behind the other, with a number for each element.
type line[F Float] struct {
	field   int
	numbers []F
}

// lines are what a function fills, and what columns have.
type lines[F Float] struct{ filled, columns []line[F] }

// of finds them in a pass, where rows and columns have these first fields and the function all of them before end.
func (l *lines[F]) of(p *Pass[F], row, column, end int) {
	l.filled, l.columns = l.filled[:0], l.columns[:0]
	add := func(to []line[F], first int, all [][]F) []line[F] {
		for k, x := range all {
			if x != nil && first+k < end {
				to = append(to, line[F]{first + k, x})
			}
		}
		return to
	}
	l.filled = add(l.filled, 0, p.Terms)
	l.filled = add(l.filled, row, p.RowTerms)
	l.filled = add(l.filled, column, p.ColumnTerms)
	l.columns = add(l.columns, column, p.Columns)
}

// drop lets go of their memory.
func (l *lines[F]) drop() {
	clear(l.filled)
	clear(l.columns)
}

// lineApplier makes the loop over rows or columns for their function.
func lineApplier[F Float, L, S, T, O any](fn func(*L, *S, *T, O)) func(*Rule, *Pass[F]) {
	type frame struct {
		l     L
		s     S
		t     T
		lines lines[F]
	}
	frames := sync.Pool{New: func() any { return new(frame) }}
	return func(r *Rule, p *Pass[F]) {
		f := frames.Get().(*frame)
		defer frames.Put(f)
		var o O
		setOptions(&o, p.Options)
		own, tensor := numbers[F](&f.l), numbers[F](&f.t)
		copy(numbers[F](&f.s), p.Scalars)
		copy(tensor, p.Tensor)
		f.lines.of(p, len(tensor), len(tensor), len(tensor))
		defer f.lines.drop()
		for i := range p.len() {
			for _, k := range p.Loads {
				own[k] = p.Slots[k][i]
			}
			fn(&f.l, &f.s, &f.t, o)
			for _, k := range p.Stores {
				p.Slots[k][i] = own[k]
			}
			for _, t := range f.lines.filled {
				t.numbers[i] = tensor[t.field]
			}
		}
	}
}

// tensorRunner makes RunTensor's function. The structs are the numbers themselves, as small tensors are many.
func tensorRunner[T, S, O any](fn func(*T, *S, O)) func(tensor, scalars []float64, options uint64) {
	return func(tensor, scalars []float64, options uint64) {
		var o O
		setOptions(&o, options)
		fn(structOf[T](tensor), structOf[S](scalars), o)
	}
}

// RunTensor runs the compiled tensor function before the element function of a stage, which is not the first: it computes numbers of a
// tensor, one a tensor field, of those and of the scalars, in place.
func (r *Rule) RunTensor(stage int, tensor, scalars []float64, options uint64) {
	r.function(OfTensor, stage).run(tensor, scalars, options)
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
