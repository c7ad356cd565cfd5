package rule

import (
	"fmt"
	"sync"

	"github.com/fusestep/fusestep/kernels/ir"
)

// Read makes a rule of a source that is not compiled into the program: the text of a Go file as New describes it, whose name is for errors, and the
// names of the prologue and of the element function. So a program has rules that were written after it was built, and needs no Go compiler for them.
//
// Its graphs are its only meaning: where an executor has no better code, their evaluator runs, some ten to a hundred times slower than a compiled
// function. Every executor has the evaluator's bits, as with New. What New checks beside, that the Go compiler makes the same of the source, cannot be
// checked without a compiler, and what no rule reaches of the file need not compile.
//
// A source that is not a rule is an *Error.
func Read(file, source, prologue, element string) (*Rule, error) {
	r, err := read(file, source, prologue, element)
	if err != nil {
		return nil, err
	}
	r.apply32, r.apply64, r.runPrologue = evaluated[float32](r, 32), evaluated[float64](r, 64), evaluatedPrologue(r)
	return r, nil
}

// read makes a rule of its source alone, which is described and has graphs, but cannot be run yet.
func read(file, source, prologue, element string) (*Rule, error) {
	r := &Rule{Name: element, graphs: map[graphKey]*ir.Func{}}
	if err := r.read(file, source, prologue); err != nil {
		return nil, fmt.Errorf("rule %s: %w", element, err)
	}
	return r, nil
}

// evaluatedLen is how many elements are computed together.
const evaluatedLen = 128

// evaluator is what one goroutine evaluates with.
type evaluator[F Float] struct {
	*ir.Evaluator[F]
	slots [][]F // and the average
	vars  [][]F // one a field of the graph: slots, then scalars
}

// evaluated is applier for a rule that has graphs alone.
func evaluated[F Float](r *Rule, width int) func(*Rule, *Pass[F]) {
	pools := make([]sync.Pool, 1<<len(r.Options)) // an evaluator is for one goroutine
	return func(r *Rule, p *Pass[F]) {
		e, ok := pools[p.Options].Get().(*evaluator[F])
		if !ok {
			f := lowered(r.Element(width, p.Options))
			e = &evaluator[F]{ir.NewEvaluator[F](f), make([][]F, len(r.Slots)+1), make([][]F, len(f.Vars))}
			for i := range e.slots {
				e.slots[i] = make([]F, evaluatedLen)
			}
		}
		defer pools[p.Options].Put(e)
		e.apply(r, p)
	}
}

// evaluatedPrologue is prologueRunner for such a rule.
func evaluatedPrologue(r *Rule) func(hyper, counters, scalars []float64, options uint64) {
	type frame struct {
		*ir.Evaluator[float64]
		vars []float64
	}
	pools := make([]sync.Pool, 1<<len(r.Options))
	return func(hyper, counters, scalars []float64, options uint64) {
		f, ok := pools[options].Get().(*frame)
		if !ok {
			g := lowered(r.Prologue(options))
			f = &frame{ir.NewEvaluator[float64](g), make([]float64, len(g.Vars))}
		}
		defer pools[options].Put(f)
		h, t := len(hyper), len(hyper)+len(counters)
		copy(f.vars, hyper)
		copy(f.vars[h:], counters)
		copy(f.vars[t:], scalars)
		f.Run(f.vars)
		copy(counters, f.vars[h:t])
		copy(scalars, f.vars[t:])
	}
}

// lowered is a graph that Read has made.
func lowered(f *ir.Func, err error) *ir.Func {
	if err != nil {
		panic(err)
	}
	return f
}

func (e *evaluator[F]) apply(r *Rule, p *Pass[F]) {
	n := 0
	for _, k := range p.Stores {
		n = len(p.Slots[k])
	}
	for i := range r.Scalars {
		e.vars[len(r.Slots)+i] = p.Scalars[i : i+1]
	}
	param, grad, ema := e.slots[r.Slot(Param)], e.slots[r.Slot(Grad)], e.slots[len(r.Slots)]
	for lo := 0; lo < n; lo += evaluatedLen {
		m := min(evaluatedLen, n-lo)
		for i := range r.Slots {
			e.vars[i] = e.slots[i][:m]
		}
		for _, k := range p.Loads {
			copy(e.slots[k], p.Slots[k][lo:lo+m])
		}
		if p.Shared != nil {
			for i := range m {
				grad[i], param[i] = p.Shared.before(p.Around, grad[i], param[i])
			}
		}
		e.RunEach(m, e.vars, nil)
		if p.Shared != nil {
			for i := range m {
				param[i] = Flush(param[i])
				if p.Around&EMA != 0 {
					ema[i] = p.Shared.average(ema[i], param[i])
				}
			}
		}
		if p.Around&ZeroGrad != 0 {
			clear(grad[:m])
		}
		for _, k := range p.Stores {
			copy(p.Slots[k][lo:lo+m], e.slots[k])
		}
	}
}
